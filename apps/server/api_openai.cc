// OpenAI's images API.
#include <algorithm>

#include "base/log.h"
#include "base/numbers.h"
#include "decode.h"
#include "openai.h"

namespace vivace::server {
namespace {

// "1024x768" is a width and a height; "auto" the model's own.
void read_size(Fields& fields, CallOptions& call) {
  const std::string text = fields.text("size", 40).value_or("auto");
  if (text == "auto") return;
  const size_t x = text.find('x');
  try {
    call.width = parse_number<int>(text.substr(0, x), "size");
    call.height = parse_number<int>(x == std::string::npos ? "" : text.substr(x + 1), "size");
  } catch (const UsageError&) {
    call.width = 0;
  }
  if (call.width <= 0 || call.height <= 0)
    throw FieldError("size", cat("size is \"", text, "\": expected a width and a height, as in \"1024x768\", or \"auto\""));
}

// Less quality is fewer steps, where the request does not say how many.
double steps_share(const std::string& quality) { return quality == "low" ? 1.0 / 3 : quality == "medium" ? 2.0 / 3 : 1; }

OpenAiSettings read_settings(Fields& f, Drawing& drawing) {
  OpenAiSettings s;
  read_size(f, drawing.call);
  s.quality = f.choice("quality", {"auto", "low", "medium", "high", "standard", "hd"}).value_or("auto");
  drawing.steps_share = steps_share(s.quality);
  drawing.format = read_format(f);
  const auto compression = f.integer("output_compression", 0, 100);
  if (compression && *compression != 100 && drawing.format == Format::png)
    throw FieldError("output_compression", "output_compression is for output_format \"jpeg\" and \"webp\": a PNG loses nothing");
  drawing.quality = static_cast<int>(std::max<int64_t>(compression.value_or(95), 1));
  if (f.choice("background", {"auto", "opaque", "transparent"}) == "transparent")
    throw FieldError("background", "background is \"transparent\": pictures are opaque");
  f.choice("moderation", {"auto", "low"});  // there is none to be told how strict it is
  f.text("user", 1000);
  s.response_format = f.choice("response_format", {"b64_json", "url"}).value_or("b64_json");
  s.stream = f.flag("stream").value_or(false);
  const auto partial = f.integer("partial_images", 0, 3).value_or(0);
  if (partial > 0 && !s.stream) throw FieldError("partial_images", "partial_images is for \"stream\": true");
  drawing.partial_images = static_cast<int>(partial);
  if (s.stream && s.response_format == "url")
    throw FieldError("response_format", "response_format is \"url\": a stream has the pictures themselves, b64_json");
  return s;
}

void draw(Exchange& x, Drawing drawing, const OpenAiSettings& settings) {
  const auto job = submit(x, std::move(drawing));
  cancel_when_gone(x, job);
  if (settings.stream)
    answer_events(x, job, settings);
  else
    answer_whole(x, job, settings);
}

void generations(Exchange& x) {
  Fields fields(x.request.body);
  Drawing drawing = read_drawing(fields, x.service);
  const OpenAiSettings settings = read_settings(fields, drawing);
  fields.refuse("strength", "it is for a picture to begin with, which this request has none of");
  fields.finish();
  draw(x, std::move(drawing), settings);
}

// The picture and the mask of a form.
void read_files(const std::vector<FormPart>& parts, int64_t most_pixels, CallOptions& call) {
  for (const FormPart& part : parts) {
    if (part.filename.empty()) continue;
    const std::string name = form_name(part);
    if (name != "image" && name != "mask") throw FieldError(name, cat("unknown file ", name, ": expected image and mask"));
    ImageInput& input = name == "image" ? call.image : call.mask_image;
    if (!input.empty()) throw FieldError(name, cat(name, " is there more than once: a model here takes one"));
    input = name == "image" ? decoded_picture(part.data, name, most_pixels) : decoded_mask(part.data, name, most_pixels);
  }
  if (call.image.empty()) throw FieldError("image", "image is missing: expected a file, PNG, JPEG or WebP");
}

void edits(Exchange& x) {
  const std::string* type = x.request.header("content-type");
  if (!type || !is_multipart(*type)) throw FieldError("image", "an edit is a form: expected multipart/form-data with the file image");
  const std::vector<FormPart> parts = parse_multipart(*type, x.request.body);
  Fields fields = Fields::of_form(parts);
  Drawing drawing = read_drawing(fields, x.service);
  const OpenAiSettings settings = read_settings(fields, drawing);
  drawing.call.strength = fields.number("strength", 0, 1);
  fields.choice("input_fidelity", {"high", "low"});  // what strength is for
  fields.finish();
  read_files(parts, x.service.limits.picture_pixels, drawing.call);
  draw(x, std::move(drawing), settings);
}

void variations(Exchange&) {
  throw FieldError("", "variations are not drawn here: no model that this server knows makes them; expected /v1/images/edits", 501);
}

nlohmann::json model_json(Service& service, const ModelEntry& entry) {
  nlohmann::json model{{"id", entry.name}, {"object", "model"}, {"created", 0}, {"owned_by", "vivace"}};
  const auto loaded = service.models.loaded(entry.name);
  model["class_name"] = loaded ? loaded->pipe().class_name() : entry.class_name;
  model["loaded"] = loaded != nullptr;
  if (loaded) {
    const LoadedModel::Settings own = loaded->defaults();
    model["defaults"] = {{"width", own.width},
                         {"height", own.height},
                         {"num_inference_steps", own.steps},
                         {"guidance_scale", own.guidance_scale},
                         {"scheduler", loaded->scheduler_class()}};
  }
  return model;
}

void list_models(Exchange& x) {
  nlohmann::json data = nlohmann::json::array();
  for (const ModelEntry& entry : x.service.models.entries()) data.push_back(model_json(x.service, entry));
  send_json(x, {{"object", "list"}, {"data", std::move(data)}});
}

void one_model(Exchange& x) {
  const ModelEntry* entry = x.service.models.find(x.parts.at(0));
  if (!entry) throw FieldError("model", cat("there is no model \"", x.parts[0], '"'), 404);
  send_json(x, model_json(x.service, *entry));
}

constexpr Route kOpenAIRoutes[] = {
    {"POST", "/v1/images/generations", generations, kTextBody},
    {"POST", "/v1/images/edits", edits, kPictureBody},
    {"POST", "/v1/images/variations", variations, kPictureBody},
    {"GET", "/v1/models", list_models},
    {"GET", "/v1/models/{model}", one_model},
};

}  // namespace

std::span<const Route> openai_routes() { return kOpenAIRoutes; }

}  // namespace vivace::server
