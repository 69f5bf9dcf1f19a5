#include "drawn.h"

#include "../cli/program.h"
#include "base/log.h"
#include "decode.h"
#include "weights/safetensors.h"

namespace vivace::server {
namespace {

const TempFolder& files() {
  static const TempFolder folder;
  return folder;
}

void write_adapter(const std::string& name, const std::string& module, float value) {
  const std::vector<TensorSpec> specs{{module + ".lora_A.weight", DType::float32, {4, 64}}, {module + ".lora_B.weight", DType::float32, {64, 4}}};
  write_safetensors(files() / "loras" / (name + ".safetensors"), specs, {}, [&](size_t i) { return Tensor::full(specs[i].shape, value); });
}

std::filesystem::path make_adapters() {
  std::filesystem::create_directories(files() / "loras" / "more");
  write_adapter("first", "unet.mid_block.attentions.0.proj_in", 0.25F);
  write_adapter("more/second", "unet.mid_block.attentions.0.proj_out", 0.2F);
  write_adapter("wrong", "unet.other", 0.25F);
  return files() / "loras";
}

std::string saved(const char* name, const std::string& bytes) {
  write_text(files() / name, bytes);
  return (files() / name).string();
}

// Values from the place.
std::string drawn_png(const std::function<uint8_t(int y, int x, int k)>& value) {
  std::vector<uint8_t> pixels;
  for (int i = 0; i < 32 * 32 * 3; ++i) pixels.push_back(value(i / 96, i / 3 % 32, i % 3));
  const std::vector<uint8_t> png = Image::from_pixels(32, 32, pixels).png();
  return {reinterpret_cast<const char*>(png.data()), png.size()};
}

}  // namespace

const Running& server() {
  static const Running running([](ServerOptions& o) {
    o.engine.preview_seconds = 0;
    o.lora_folder = make_adapters().string();
  });
  return running;
}

Answer post(const std::string& path, const nlohmann::json& body) { return ask(server().port(), "POST", path, body); }

Answer post_form(const std::string& path, const std::vector<Field>& fields) {
  std::string body;
  for (const Field& field : fields)
    body += cat("--x-boundary-x\r\nContent-Disposition: form-data; name=\"", field.name, '"',
                field.filename.empty() ? "" : cat("; filename=\"", field.filename, "\"\r\nContent-Type: image/png"), "\r\n\r\n", field.value, "\r\n");
  Client connection(server().port());
  connection.send(request_text("POST", path, body + "--x-boundary-x--\r\n", {"Content-Type: multipart/form-data; boundary=x-boundary-x"}));
  return connection.read();
}

std::string bytes_of(const nlohmann::json& base64) { return base64.is_string() ? from_base64(base64.get<std::string>(), "the answer") : ""; }

Image image_of(const std::string& bytes) { return Image::decode(std::as_bytes(std::span(bytes)), "the answer"); }

std::string generated(const std::vector<std::string>& more) {
  const TempFolder folder;
  std::vector<std::string> arguments{"generate", "a red apple", "--model", tiny_model(), "-q", "--threads", "2", "-o", (folder / "x.png").string()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const Finished done = vivace(arguments);
  EXPECT_EQ(done.code, 0) << done.err;
  return read_text(folder / "x.png");
}

std::string lora_file(const std::string& name) {
  (void)server();
  return (files() / "loras" / (name + ".safetensors")).string();
}

std::string tiny_as(const TempFolder& folder, const std::string& class_name) {
  static constexpr std::string_view kOwn = "StableDiffusionXLPipeline";
  const std::filesystem::path model = copy_tiny(folder);
  std::string index = read_text(model / "model_index.json");
  write_text(model / "model_index.json", index.replace(index.find(kOwn), kOwn.size(), class_name));
  return model.string();
}

const std::string& photo() {
  static const std::string bytes = drawn_png([](int y, int x, int k) { return static_cast<uint8_t>(k == 0 ? 8 * x : k == 1 ? 8 * y : 128); });
  return bytes;
}

const std::string& left_half() {
  static const std::string bytes = drawn_png([](int, int x, int) { return static_cast<uint8_t>(x < 16 ? 255 : 0); });
  return bytes;
}

std::string photo_file() { return saved("photo.png", photo()); }
std::string left_half_file() { return saved("left_half.png", left_half()); }

}  // namespace vivace::server
