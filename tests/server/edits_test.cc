// Pictures made of pictures, by each of the interfaces, against what the program makes of them.
#include "../cli/program.h"
#include "drawn.h"
#include "encode.h"

namespace vivace::server {
namespace {

const std::vector<std::string> kEdit{"--seed", "7", "--num-inference-steps", "4", "--strength", "0.6"};

std::vector<uint8_t> by_program(std::vector<std::string> more) {
  more.insert(more.end(), kEdit.begin(), kEdit.end());
  return image_of(generated(more)).pixels();
}

std::vector<Field> edit(const std::vector<Field>& more) {
  std::vector<Field> fields{{"prompt", "a red apple"}, {"seed", "7"}, {"num_inference_steps", "4"}, {"strength", "0.6"}};
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

TEST(ServerEdits, OfAPicture) {
  const Answer answer = post_form("/v1/images/edits", edit({{"image[]", photo(), "photo.png"}, {"model", "tiny"}, {"n", "1"}}));
  ASSERT_EQ(answer.status, 200) << answer.body;
  const std::string bytes = bytes_of(answer.json()["data"][0]["b64_json"]);
  EXPECT_EQ(image_of(bytes).pixels(), by_program({"--image", photo_file()}));
  EXPECT_NE(bytes.find(", Denoising strength: 0.6"), std::string::npos);
  EXPECT_EQ(answer.json()["usage"]["input_tokens_details"]["image_tokens"], 4);
  // In a size that is asked for, the picture is resized first.
  const Answer wide = post_form("/v1/images/edits", edit({{"image", photo(), "photo.png"}, {"size", "48x32"}}));
  const TempFolder folder;
  image_of(photo()).resized(32, 48).save(folder / "wide.png");
  EXPECT_EQ(image_of(bytes_of(wide.json()["data"][0]["b64_json"])).pixels(), by_program({"--image", (folder / "wide.png").string()}));
  // The model draws from prompts as before.
  EXPECT_EQ(post("/v1/images/generations", {{"prompt", "x"}, {"num_inference_steps", 1}}).status, 200);
}

// FLUX takes height and width beside a picture, and its number of steps is not the scheduler's to say.
TEST(ServerEdits, OfFlux) {
  const std::string model = VIVACE_SOURCE_DIR "/assets/emoji-flux";
  const Running flux({}, model_entries({model}));
  const auto draw = [&](nlohmann::json request) {
    request.update({{"prompt", "a red apple"}, {"seed", 7}, {"steps", 2}, {"denoising_strength", 0.6}, {"cfg_scale", 3.5}});
    request["init_images"] = {base64(photo())};
    const Answer answer = ask(flux.port(), "POST", "/sdapi/v1/img2img", request);
    EXPECT_EQ(answer.status, 200) << answer.body;
    return image_of(bytes_of(answer.json()["images"][0])).pixels();
  };
  const auto by_program = [&](const char* height, const char* width) {
    const TempFolder folder;
    const std::string file = (folder / "x.png").string();
    EXPECT_EQ(vivace({"generate",   "a red apple",
                      "--model",    model,
                      "-q",         "--threads",
                      "2",          "-o",
                      file,         "--image",
                      photo_file(), "--seed",
                      "7",          "--num-inference-steps",
                      "2",          "--strength",
                      "0.6",        "--guidance-scale",
                      "3.5",        "--height",
                      height,       "--width",
                      width})
                  .code,
              0);
    return Image::load(file).pixels();
  };
  EXPECT_EQ(draw({{"width", 64}, {"height", 48}}), by_program("48", "64"));
  EXPECT_EQ(draw({}), by_program("32", "32")) << "the picture's own size";
  const Answer low = ask(flux.port(), "POST", "/v1/images/generations", {{"prompt", "x"}, {"size", "32x32"}, {"quality", "low"}});
  EXPECT_NE(bytes_of(low.json()["data"][0]["b64_json"]).find("Steps: 9,"), std::string::npos) << low.body.substr(0, 200);
}

TEST(ServerEdits, BehindAMask) {
  const auto drawn = [](const std::string& mask) {
    const Answer answer = post_form("/v1/images/edits", edit({{"image", photo(), "a.png"}, {"mask", mask, "b.png"}}));
    EXPECT_EQ(answer.status, 200) << answer.body;
    return image_of(bytes_of(answer.json()["data"][0]["b64_json"])).pixels();
  };
  const auto right = by_program({"--image", photo_file(), "--mask-image", left_half_file()});
  EXPECT_EQ(drawn(left_half()), right);
  // OpenAI's masks are transparent where they are to be repainted: here the left half of 32 x 32 pixels.
  EXPECT_EQ(drawn(bytes_of("iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAYAAABzenr0AAAAL0lEQVR42u3OsQ0AAAjDsML/"
                           "P8MRDCzOHsmVe3OZO88BAAAAAAAAAAAAAAAAAAAs4UMBP+u7rAgAAAAASUVORK5CYII=")),
            right);
}

TEST(ServerEdits, StreamsUnderNamesOfTheirOwn) {
  const Answer answer = post_form("/v1/images/edits", edit({{"image", photo(), "a.png"}, {"stream", "true"}, {"partial_images", "1"}}));
  const std::vector<Event> events = events_of(answer.body);
  ASSERT_EQ(events.size(), 2u) << answer.body;
  EXPECT_EQ(events[0].name, "image_edit.partial_image");
  EXPECT_EQ(events[1].name, "image_edit.completed");
}

TEST(ServerEdits, ErrorsNameTheField) {
  const auto refused = [](const std::vector<Field>& fields, const std::string& field) {
    const Answer answer = post_form("/v1/images/edits", fields);
    EXPECT_EQ(answer.status, 400) << answer.body;
    EXPECT_EQ(answer.json()["error"]["param"], field) << answer.body;
  };
  const Field image{"image", photo(), "a.png"};
  refused({{"prompt", "x"}}, "image");
  refused({image}, "prompt");
  refused({{"prompt", "x"}, image, image}, "image");
  refused({{"prompt", "x"}, image, {"audio", "x", "a.wav"}}, "audio");
  refused({{"prompt", "x"}, {"image", "no picture", "a.png"}}, "image");
  refused({{"prompt", "x"}, {"image", photo().substr(0, 100), "a.png"}}, "image");
  refused({{"prompt", "x"}, image, {"mask", "no picture", "a.png"}}, "mask");
  refused({{"prompt", "x"}, image, {"strength", "2"}}, "strength");
  refused({{"prompt", "x"}, image, {"n", "many"}}, "n");
  refused({{"prompt", "x"}, image, {"n", "1"}, {"n", "1"}}, "n");
  refused({{"prompt", "x"}, image, {"size", "33x32"}}, "size");
  EXPECT_NE(post_form("/v1/images/edits", {{"prompt", "x"}, image, {"size", "33x32"}}).body.find("(the VAE's scale) up to 32768; the nearest is 32"),
            std::string::npos);
  refused({{"prompt", "x"}, image, {"size", "100000x100000"}}, "size");
  refused({{"prompt", "x"}, image, {"temperature", "1"}}, "temperature");
  // A head that claims 60000 x 60000 pixels is not believed before there is memory for them.
  std::string huge = photo();
  huge[18] = huge[22] = '\xea';
  refused({{"prompt", "x"}, {"image", huge, "a.png"}}, "image");
  EXPECT_EQ(post("/v1/images/edits", {{"prompt", "x"}}).status, 400);  // no form
}

TEST(ServerEdits, AsJobs) {
  const nlohmann::json body{{"prompt", "a red apple"},  {"seed", 7},
                            {"num_inference_steps", 4}, {"strength", 0.6},
                            {"image", base64(photo())}, {"mask_image", "data:image/png;base64," + base64(left_half())}};
  const Answer made = post("/jobs", body);
  ASSERT_EQ(made.status, 202) << made.body;
  const std::string path = "/jobs/" + made.json()["id"].get<std::string>();
  ASSERT_TRUE(eventually([&] { return ask(server().port(), "GET", path).json()["status"] == "done"; }));
  EXPECT_EQ(image_of(ask(server().port(), "GET", path + "/images/0").body).pixels(),
            by_program({"--image", photo_file(), "--mask-image", left_half_file()}));
  for (const char* field : {"mask_image", "strength"}) {
    nlohmann::json alone{{"prompt", "x"}, {field, body[field]}};
    EXPECT_EQ(post("/jobs", alone).json()["error"]["param"], field);
  }
  EXPECT_EQ(post("/jobs", {{"prompt", "x"}, {"image", "%%%"}}).json()["error"]["param"], "image");
}

TEST(ServerEdits, AsAutomatic1111Asks) {
  const nlohmann::json body{
      {"prompt", "a red apple<lora:first:0.5>"}, {"seed", 7}, {"steps", 4}, {"denoising_strength", 0.6}, {"init_images", {base64(photo())}}};
  const auto draw = [&](const nlohmann::json& change) {
    nlohmann::json whole = body;
    whole.update(change);
    const Answer answer = post("/sdapi/v1/img2img", whole);
    EXPECT_EQ(answer.status, 200) << answer.body;
    EXPECT_FALSE(answer.json()["parameters"].contains("init_images"));
    return image_of(bytes_of(answer.json()["images"][0])).pixels();
  };
  const std::string lora = lora_file("first") + ":0.5";
  EXPECT_EQ(draw({{"width", 32}, {"height", 32}}), by_program({"--image", photo_file(), "--lora", lora}));
  // Black is repainted where the mask is inverted.
  const TempFolder folder;
  std::vector<uint8_t> pixels = image_of(left_half()).pixels();
  for (uint8_t& value : pixels) value = static_cast<uint8_t>(255 - value);
  Image::from_pixels(32, 32, pixels).save(folder / "right.png");
  EXPECT_EQ(
      draw({{"mask", base64(left_half())}, {"mask_blur", 2}, {"inpainting_mask_invert", 1}, {"inpaint_full_res", false}, {"inpainting_fill", 1}}),
      by_program({"--image", photo_file(), "--mask-image", (folder / "right.png").string(), "--mask-blur", "2", "--lora", lora}));
  for (const auto& change :
       std::vector<nlohmann::json>{{{"resize_mode", 1}}, {{"init_images", nlohmann::json::array()}}, {{"denoising_strength", 1.5}}}) {
    nlohmann::json wrong = body;
    wrong.update(change);
    EXPECT_EQ(post("/sdapi/v1/img2img", wrong).json()["detail"][0]["loc"][1], change.begin().key());
  }
}

}  // namespace
}  // namespace vivace::server
