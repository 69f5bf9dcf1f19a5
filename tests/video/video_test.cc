// Videos as tensors, NumPy files and folders of PNGs; what is said of paths and values that are none.
#include "vivace/video.h"

#include <algorithm>
#include <cstring>
#include <fstream>

#include "base/files.h"
#include "base/log.h"
#include "small_files.h"
#include "temp_folder.h"
#include "tensor/npy.h"
#include "video/gif_palette.h"
#include "video/metadata.h"
#include "vivace/error.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

Video small(int frames = 3, int height = 4, int width = 6) {
  Tensor values({frames, height, width, 3}, float32);
  for (int64_t i = 0; i < values.numel(); ++i) values.floats()[static_cast<size_t>(i)] = static_cast<float>(i % 256) / 255.f;
  return Video::from_tensor(values);
}

TEST(Videos, AreTensorsOfFrames) {
  const Video video = small();
  EXPECT_EQ(video.frames(), 3);
  EXPECT_EQ(video.height(), 4);
  EXPECT_EQ(video.width(), 6);
  EXPECT_EQ(video.frame(1).tensor().floats().data(), video.tensor().floats().data() + 4 * 6 * 3) << "shares the values";
  EXPECT_EQ(message_of<UsageError>([&] { video.frame(3); }), "frame 3 of a video of 3");
  EXPECT_EQ(message_of<UsageError>([] {
              Video::from_tensor(Tensor::zeros({2, 4, 4, 4}));
            }),
            "a video needs a float32 tensor [frames, height, width, 3], got float32 [2, 4, 4, 4]");
  EXPECT_EQ(message_of<UsageError>([] { Video().save("x.npy"); }), "an empty video cannot be saved");
}

TEST(Videos, AreSavedAsNumPyFiles) {
  const TempFolder folder;
  small().save(folder / "v.npy");
  const std::string file = read_file(folder / "v.npy");
  const size_t header = file.size() - 3 * 4 * 6 * 3 * sizeof(float);
  EXPECT_EQ(header % 64, 0u);
  EXPECT_EQ(file.substr(10, 61), "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4, 6, 3");
  EXPECT_EQ(std::memcmp(file.data() + header, small().tensor().data(), small().tensor().bytes()), 0);
}

TEST(Videos, AreSavedAsFoldersOfPictures) {
  const TempFolder folder;
  small().save(folder / "frames", {.text = {{"prompt", "a panda"}}});
  const Image second = Image::load(folder / "frames" / "frame_0002.png");
  EXPECT_EQ(second.pixels(), small().frame(1).pixels());
  EXPECT_NE(read_file(folder / "frames" / "frame_0002.png").find("a panda"), std::string::npos);
  // A shorter one takes the place of what is there, whole.
  small(1).save((folder / "frames").string() + "/");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "frames"), {}), 1);
  EXPECT_EQ(folder.files(), 1u) << "nothing else is left";
}

TEST(Videos, AreReadFromNumPyFiles) {
  const TempFolder folder;
  small().save(folder / "v.npy");
  const Video read = Video::load(folder / "v.npy");
  EXPECT_EQ(read.tensor().shape(), small().tensor().shape());
  EXPECT_TRUE(std::ranges::equal(read.tensor().floats(), small().tensor().floats()));
  save_npy(folder / "picture.npy", Tensor::zeros({4, 6, 3}));
  EXPECT_EQ(message_of<UserError>([&] { Video::load(folder / "picture.npy"); }),
            cat((folder / "picture.npy").string(), ": shape [4, 6, 3]: expected a video [frames, height, width, 3]"));
}

TEST(Videos, AreReadFromFoldersOfPictures) {
  const TempFolder folder;
  small().save(folder / "frames");
  fs::rename(folder / "frames" / "frame_0003.png", folder / "frames" / "frame_0000.PNG");
  std::ofstream(folder / "frames" / "notes.txt") << "no picture";
  const Video read = Video::load(folder / "frames");
  ASSERT_EQ(read.frames(), 3);
  for (const auto& [got, wanted] : {std::pair{0, 2}, {1, 0}, {2, 1}}) EXPECT_EQ(read.frame(got).pixels(), small().frame(wanted).pixels());
  small(1, 4, 5).frame(0).save(folder / "frames" / "frame_0004.png");
  EXPECT_EQ(message_of<UserError>([&] { Video::load(folder / "frames"); }),
            cat((folder / "frames" / "frame_0004.png").string(), ": 5 x 4 pixels, and frame_0000.PNG has 6 x 4: expected frames of one size"));
  fs::create_directory(folder / "empty");
  EXPECT_EQ(message_of<UserError>([&] { Video::load(folder / "empty"); }),
            cat((folder / "empty").string(), ": no pictures: expected a video, or a folder of its frames as PNG or JPEG"));
}

TEST(Videos, LeaveFoldersOfOtherThingsAlone) {
  const TempFolder folder;
  fs::create_directory(folder / "photos");
  std::ofstream(folder / "photos" / "frame_1.png") << "mine, by a name of ours";
  std::ofstream(folder / "photos" / "me.png") << "mine";
  for (const auto& save : {+[](const fs::path& p) { small().save(p); }, +[](const fs::path& p) { Video::check_save_path(p); }})
    EXPECT_EQ(message_of<UserError>([&] { save(folder / "photos"); }),
              cat("cannot write ", (folder / "photos").string(), ": the folder holds me.png, which is no frame of a video: choose another name"));
  std::ofstream(folder / "file") << "mine";
  EXPECT_EQ(message_of<UserError>([&] { small().save(folder / "file"); }),
            cat("cannot write ", (folder / "file").string(), ": it is a file: a name without extension stands for a folder of PNGs"));
  EXPECT_EQ(read_file(folder / "photos" / "me.png"), "mine");
}

TEST(Videos, SayWhatIsWrongWithAPath) {
  const TempFolder folder;
  const std::string avi = (folder / "x.avi").string();
  EXPECT_EQ(message_of<UsageError>([&] { Video::check_save_path(avi); }),
            cat("cannot write ", avi, ": unknown extension \".avi\": expected .mp4, .webm, .gif, .webp or .npy, or none for a folder of PNGs"));
  const fs::path nowhere = folder / "no" / "v.npy";
  EXPECT_EQ(message_of<UserError>([&] { Video::check_save_path(nowhere); }),
            cat("cannot write ", nowhere.string(), ": the folder ", nowhere.parent_path().string(), " does not exist: create it first"));
  EXPECT_EQ(message_of<UsageError>([&] { small().save(folder / "v.npy", {.fps = 0}); }), "fps is 0: expected a number above 0, at most 1000");
  EXPECT_EQ(message_of<UsageError>([&] { small().save(folder / "v.npy", {.fps = 1e9}); }), "fps is 1e+09: expected a number above 0, at most 1000");
  EXPECT_EQ(folder.files(), 0u);
}

TEST(Videos, LeaveNothingHalfWritten) {
  const TempFolder folder;
  std::stop_source stop;
  stop.request_stop();
  for (const char* name : {"v.npy", "frames"}) {
    EXPECT_THROW(small().save(folder / name, {.stop = stop.get_token()}), Interrupted);
    EXPECT_EQ(folder.files(), 0u) << name;
  }
  const SmallFiles limit(128);  // as a disk that is full
  for (const char* name : {"v.npy", "frames"}) {
    const std::string message = message_of<UserError>([&] { small(3, 32, 32).save(folder / name); });
    EXPECT_NE(message.find("the file would exceed the size limit"), std::string::npos) << message;
    EXPECT_EQ(folder.files(), 0u) << name;
  }
}

TEST(GifPalettes, HoldTheColoursThatThereAre) {
  const std::vector<uint8_t> frame{255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 0, 0};
  GifPalette palette = GifPalette::of(1, [&](int) { return frame; });
  uint8_t indices[4];
  palette.draw(frame, 2, indices, 2);
  for (size_t i = 0; i < 4; ++i) {
    const uint32_t colour = palette.colours()[indices[i]];
    EXPECT_EQ(colour, 0xff000000u | static_cast<uint32_t>(frame[3 * i]) << 16 | static_cast<uint32_t>(frame[3 * i + 1]) << 8 | frame[3 * i + 2]);
  }
}

// 64 x 64 x 64 colours, of which 256 are shown: the pattern's mean is near the colour.
TEST(GifPalettes, ShowOtherColoursByTheirNeighbours) {
  std::vector<uint8_t> all;
  for (int r = 0; r < 256; r += 8)
    for (int g = 0; g < 256; g += 8)
      for (int b = 0; b < 256; b += 8) all.insert(all.end(), {static_cast<uint8_t>(r), static_cast<uint8_t>(g), static_cast<uint8_t>(b)});
  GifPalette palette = GifPalette::of(1, [&](int) { return all; });
  std::vector<uint8_t> flat;
  for (int i = 0; i < 64; ++i) flat.insert(flat.end(), {100, 150, 60});
  uint8_t indices[64];
  palette.draw(flat, 8, indices, 8);
  int sums[3] = {};
  for (uint8_t i : indices)
    for (int c = 0; c < 3; ++c) sums[c] += static_cast<int>(palette.colours()[i] >> (16 - 8 * c) & 0xff);
  for (const auto& [c, wanted] : {std::pair{0, 100}, {1, 150}, {2, 60}}) EXPECT_NEAR(sums[c] / 64., wanted, 16) << "channel " << c;
}

TEST(VideoMetadata, GoesBehindTheFramesOfAGif) {
  std::vector<uint8_t> gif{'G', 'I', 'F', 0x3b};
  add_gif_comment(gif, {{"prompt", std::string(300, 'x')}});
  const std::string text(gif.begin(), gif.end());
  EXPECT_EQ(text.substr(0, 6), std::string("GIF\x21\xfe\xff", 6));
  EXPECT_EQ(text.substr(6, 8), "prompt: ");
  EXPECT_EQ(gif.size(), 3 + 2 + 1 + 255 + 1 + (300 + 8 - 255) + 1 + 1u);
  EXPECT_EQ(gif.back(), 0x3b);
}

}  // namespace
}  // namespace vivace
