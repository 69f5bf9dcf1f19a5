// OpenAI's images API.
#include "openai.h"

#include "../cli/program.h"
#include "base/joined.h"
#include "decode.h"
#include "drawn.h"
#include "vivace/quality.h"

namespace vivace::server {
namespace {

void expect_refused(const nlohmann::json& change, const std::string& field, int status = 400) {
  nlohmann::json body{{"prompt", "x"}, {"num_inference_steps", 1}};
  body.update(change);
  const Answer answer = post("/v1/images/generations", body);
  EXPECT_EQ(answer.status, status) << body;
  EXPECT_EQ(answer.json()["error"]["param"], field) << answer.body;
  EXPECT_NE(answer.json()["error"]["message"].get<std::string>().find(field), std::string::npos) << answer.body;
}

TEST(ServerOpenAi, DrawsWhatTheProgramDraws) {
  const Answer answer = post("/v1/images/generations", {{"model", "tiny"},
                                                        {"prompt", "a red apple"},
                                                        {"negative_prompt", "blurry"},
                                                        {"n", 2},
                                                        {"size", "24x32"},
                                                        {"seed", 7},
                                                        {"num_inference_steps", 3},
                                                        {"guidance_scale", 4},
                                                        {"scheduler", "ddim"},
                                                        {"user", "u"},
                                                        {"moderation", "low"},
                                                        {"background", "opaque"}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  const auto json = answer.json();
  ASSERT_EQ(json["data"].size(), 2u);
  for (int i = 0; i < 2; ++i) {
    const std::string bytes = bytes_of(json["data"][i]["b64_json"]);
    EXPECT_EQ(image_of(bytes).pixels(),
              image_of(generated({"--negative-prompt", "blurry", "--width", "24", "--height", "32", "--seed", std::to_string(7 + i),
                                  "--num-inference-steps", "3", "--guidance-scale", "4", "--scheduler", "ddim"}))
                  .pixels());
    EXPECT_NE(bytes.find("Steps: 3, Sampler: ddim, CFG scale: 4, Seed: " + std::to_string(7 + i) + ", Size: 24x32"), std::string::npos);
  }
  EXPECT_EQ(json["size"], "24x32");
  EXPECT_EQ(json["usage"]["output_tokens"], 2 * 24 * 32 / 256);
  EXPECT_EQ(json["usage"]["input_tokens"], 5);  // three words and the ends
  // The next call has the model's own scheduler again.
  const Answer own = post("/v1/images/generations", {{"prompt", "a red apple"}, {"seed", 7}, {"num_inference_steps", 3}});
  EXPECT_EQ(image_of(bytes_of(own.json()["data"][0]["b64_json"])).pixels(),
            image_of(generated({"--seed", "7", "--num-inference-steps", "3"})).pixels());
}

TEST(ServerOpenAi, JpegAndUrls) {
  const Answer answer = post(
      "/v1/images/generations",
      {{"prompt", "a red apple"}, {"num_inference_steps", 1}, {"output_format", "jpeg"}, {"output_compression", 80}, {"response_format", "url"}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  const std::string url = answer.json()["data"][0]["url"];
  ASSERT_TRUE(url.starts_with("http://127.0.0.1/jobs/")) << url;
  const Answer file = ask(server().port(), "GET", url.substr(url.find("/jobs")));
  EXPECT_EQ(file.status, 200);
  EXPECT_TRUE(file.has_header("Content-Type: image/jpeg"));
  EXPECT_TRUE(file.body.starts_with("\xff\xd8\xff"));
  EXPECT_TRUE(file.body.ends_with("\xff\xd9"));
  EXPECT_NE(file.body.find("a red apple\nSteps: 1"), std::string::npos);
}

TEST(ServerOpenAi, WebP) {
  const auto picture = [](int compression) {
    const Answer answer = post(
        "/v1/images/generations",
        {{"prompt", "a red \u82f9\u679c"}, {"num_inference_steps", 1}, {"seed", 7}, {"output_format", "webp"}, {"output_compression", compression}});
    EXPECT_EQ(answer.json()["output_format"], "webp") << answer.body;
    return bytes_of(answer.json()["data"][0]["b64_json"]);
  };
  const std::string good = picture(100), small = picture(10);
  EXPECT_LT(small.size(), good.size());
  // Where other programs look for the settings: EXIF's UserComment, UTF-16 with the big end first.
  EXPECT_NE(good.find(std::string("UNICODE\0\0a\0 \0r\0e\0d\0 \x82\xf9\x67\x9c\0\n\0S\0t\0e\0p\0s", 37)), std::string::npos);
  // A picture of noise, of whose colours WebP keeps every second.
  const Answer png = post("/v1/images/generations", {{"prompt", "a red \u82f9\u679c"}, {"num_inference_steps", 1}, {"seed", 7}});
  const Image right = image_of(bytes_of(png.json()["data"][0]["b64_json"]));
  const double as_good = psnr(right, decoded_picture(good, "x", 2000)), as_small = psnr(right, decoded_picture(small, "x", 2000));
  EXPECT_GT(as_good, 15);
  EXPECT_GT(as_good, as_small + 1);
}

TEST(ServerOpenAi, Loras) {
  const auto draw = [](const nlohmann::json& loras) {
    const Answer answer = post("/v1/images/generations", {{"prompt", "a red apple"}, {"num_inference_steps", 2}, {"seed", 7}, {"loras", loras}});
    EXPECT_EQ(answer.status, 200) << answer.body;
    return image_of(bytes_of(answer.json()["data"][0]["b64_json"])).pixels();
  };
  const auto by_program = [](std::vector<std::string> more) {
    more.insert(more.end(), {"--seed", "7", "--num-inference-steps", "2"});
    return image_of(generated(more)).pixels();
  };
  const auto plain = by_program({}), first = by_program({"--lora", lora_file("first")});
  EXPECT_NE(plain, first);
  EXPECT_EQ(draw({"first"}), first);
  EXPECT_EQ(draw(nullptr), plain);  // those of one request are not the next one's
  EXPECT_EQ(draw({{{"name", "first"}, {"weight", 0.5}}, "second"}),
            by_program({"--lora", lora_file("first") + ":0.5", "--lora", lora_file("more/second")}));
  EXPECT_EQ(draw({"first"}), first);
  EXPECT_EQ(draw(nlohmann::json::array()), plain);
}

// What a request leaves behind that fails, or that was of another file, is not in the next one's picture.
TEST(ServerOpenAi, LorasThatFailOrAreReplaced) {
  const auto ask_for = [](const nlohmann::json& loras) {
    return post("/v1/images/generations", {{"prompt", "a red apple"}, {"num_inference_steps", 2}, {"seed", 7}, {"loras", loras}});
  };
  const auto draw = [&](const nlohmann::json& loras) {
    const Answer answer = ask_for(loras);
    EXPECT_EQ(answer.status, 200) << answer.body;
    return image_of(bytes_of(answer.json()["data"][0]["b64_json"])).pixels();
  };
  const auto plain = draw(nullptr), first = draw({"first"}), second = draw({"second"});
  EXPECT_EQ(draw({"first"}), first);
  EXPECT_EQ(ask_for({"first", "wrong"}).status, 400);
  EXPECT_EQ(draw(nullptr), plain);
  EXPECT_EQ(draw({"first"}), first);
  const std::string file = lora_file("first"), aside = file + ".aside";
  std::filesystem::rename(file, aside);
  EXPECT_EQ(ask_for({"first"}).status, 400);
  std::filesystem::copy_file(lora_file("more/second"), file);
  EXPECT_EQ(draw({"first"}), second);
  std::filesystem::rename(aside, file);
  EXPECT_EQ(draw({"first"}), first);
}

TEST(ServerOpenAi, FewerStepsForLessQuality) {
  const auto steps = [](const char* quality) {
    const Answer answer = post("/v1/images/generations", {{"prompt", "x"}, {"quality", quality}});
    const std::string bytes = bytes_of(answer.json()["data"][0]["b64_json"]);
    const size_t at = bytes.find("Steps: ");
    return at == std::string::npos ? 0 : std::stoi(bytes.substr(at + 7));
  };
  EXPECT_EQ(steps("low"), 17);
  EXPECT_EQ(steps("medium"), 33);
  EXPECT_EQ(steps("high"), 50);
}

TEST(ServerOpenAi, StreamsPartialImages) {
  const nlohmann::json body{{"prompt", "a red apple"}, {"num_inference_steps", 8}, {"seed", 7}, {"stream", true}, {"partial_images", 3}, {"n", 2}};
  const Answer answer = post("/v1/images/generations", body);
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_TRUE(answer.has_header("Content-Type: text/event-stream; charset=utf-8"));
  const std::vector<Event> events = events_of(answer.body);
  ASSERT_EQ(events.size(), 8u) << answer.body;
  for (size_t i = 0; i < events.size(); ++i) {
    const Event& event = events[i];
    EXPECT_EQ(event.name, i % 4 == 3 ? "image_generation.completed" : "image_generation.partial_image");
    EXPECT_EQ(event.data["type"], event.name);
    EXPECT_TRUE(event.data["created_at"].is_number_integer());
    EXPECT_EQ(event.data["output_format"], "png");
    EXPECT_EQ(event.data["quality"], "auto");
    const Image image = image_of(bytes_of(event.data["b64_json"]));
    if (i % 4 < 3) {
      EXPECT_EQ(event.data["partial_image_index"], i % 4);
      EXPECT_EQ(image.width(), 8);  // a pixel for each of the latents: the tiny model's scale is 4
    } else {
      EXPECT_EQ(image.pixels(), image_of(generated({"--seed", std::to_string(7 + i / 4), "--num-inference-steps", "8"})).pixels());
      EXPECT_EQ(event.data["usage"]["output_tokens"], 4);
    }
  }
}

TEST(ServerOpenAi, AStreamTellsOfPicturesThatWereThereBeforeIt) {
  struct Recorded : Reply {
    void send(Response) override {}
    void begin_events(bool, Headers) override {}
    void event(const std::string& name, const std::string&, bool) override { names.push_back(name); }
    void end_events() override {}
    void on_gone(std::function<void()>) override {}
    std::vector<std::string> names;
  };
  Models models(model_entries({tiny_model().string()}), load_model, 1);
  Metrics metrics;
  Loras loras("");
  JobStore jobs(1, 1);
  Engine engine(models, metrics, {});
  Service service{.models = models, .engine = engine, .jobs = jobs, .metrics = metrics, .loras = loras, .limits = {}};
  const auto job = std::make_shared<Job>("id", "client", Drawing{.model = "tiny", .seeds = {1, 2}});
  const auto reply = std::make_shared<Recorded>();
  const Request request;
  Exchange exchange{service, request, reply, {}, "client"};
  job->start();
  job->add_picture({});
  answer_events(exchange, job, {});
  job->add_picture({});
  job->end();
  EXPECT_EQ(joined(reply->names), "image_generation.completed, image_generation.completed");
}

TEST(ServerOpenAi, PreviewsOfASmallDecoder) {
  // The tiny model with an AutoencoderTiny, of which only that is wanted.
  const TempFolder folder;
  const std::filesystem::path configs = folder / "configs", made = folder / "made";
  std::filesystem::copy(VIVACE_SOURCE_DIR "/tests/pipelines/data/configs/sdxl_two_levels", configs, std::filesystem::copy_options::recursive);
  std::string index = read_text(configs / "model_index.json");
  index.replace(index.find("AutoencoderKL"), 13, "AutoencoderTiny");
  write_text(configs / "model_index.json", index);
  write_text(configs / "vae/config.json", R"({"_class_name": "AutoencoderTiny", "latent_channels": 4, "num_encoder_blocks": [1, 1, 1],
    "num_decoder_blocks": [1, 1, 1], "encoder_block_out_channels": [8, 8, 8], "decoder_block_out_channels": [8, 8, 8]})");
  ASSERT_EQ(vivace({"make-random", configs, made, "--quiet"}).code, 0);
  const auto decoder = std::make_shared<const AutoencoderTiny>(AutoencoderTiny::from_pretrained(made / "vae"));
  const Running running([&](ServerOptions& o) { o.preview_decoder = decoder; });
  const auto stream = [&](bool partial) {
    return events_of(ask(running.port(), "POST", "/v1/images/generations",
                         {{"prompt", "a red apple"}, {"num_inference_steps", 2}, {"seed", 7}, {"stream", true}, {"partial_images", partial ? 1 : 0}})
                         .body);
  };
  const std::vector<Event> events = stream(true);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].data["size"], "32x32");
  // What it makes of the latents after the first step, as loud as a finished picture's.
  Tensor latents;
  const auto look = [&](const DiffusionPipeline&, int step, float, StepState& state) {
    if (step == 0) latents = state.latents.clone();
  };
  load_model(tiny_model().string(), Task::text_to_image)("a red apple", {.num_inference_steps = 2, .seed = 7, .callback_on_step_end = look});
  double sum = 0;
  for (const float x : latents.floats()) sum += static_cast<double>(x) * x;
  for (float& x : latents.floats()) x /= static_cast<float>(std::max(1.0, std::sqrt(sum / static_cast<double>(latents.numel()))));
  Tensor right = nchw_to_nhwc(decoder->decode(latents)).reshape({32, 32, 3});
  for (float& x : right.floats()) x = std::clamp(x / 2 + 0.5f, 0.f, 1.f);
  EXPECT_GT(psnr(Image::from_tensor(right), image_of(bytes_of(events[0].data["b64_json"]))), 48) << "a value of 255 up or down at most";
  // The picture is what it is without.
  EXPECT_EQ(events[1].data["b64_json"], stream(false).back().data["b64_json"]);
  vivace::expect_refused(vivace({"serve", "--model", tiny_model(), "--port", "0", "--preview-vae", tiny_model() / "vae"}), 1, {"vae"});
}

TEST(ServerOpenAi, ErrorsNameTheField) {
  expect_refused({{"prompt", 7}}, "prompt");
  expect_refused({{"prompt", nullptr}}, "prompt");
  expect_refused({{"n", 0}}, "n");
  expect_refused({{"n", 11}}, "n");
  expect_refused({{"n", "2"}}, "n");
  expect_refused({{"n", 1.5}}, "n");
  expect_refused({{"size", "big"}}, "size");
  expect_refused({{"size", "0x64"}}, "size");
  expect_refused({{"size", "100000x100000"}}, "size");
  expect_refused({{"size", "33x32"}}, "size");
  expect_refused({{"quality", "best"}}, "quality");
  expect_refused({{"output_format", "gif"}}, "output_format");
  const double steps = metric(server().port(), "vivace_step_seconds_count");
  expect_refused({{"output_format", "webp"}, {"size", "16384x8"}}, "output_format");
  EXPECT_EQ(metric(server().port(), "vivace_step_seconds_count"), steps) << "before they are drawn";
  expect_refused({{"output_compression", 50}}, "output_compression");
  expect_refused({{"background", "transparent"}}, "background");
  expect_refused({{"partial_images", 2}}, "partial_images");
  expect_refused({{"partial_images", 4}, {"stream", true}}, "partial_images");
  expect_refused({{"response_format", "url"}, {"stream", true}}, "response_format");
  expect_refused({{"num_inference_steps", 0}}, "num_inference_steps");
  expect_refused({{"guidance_scale", "high"}}, "guidance_scale");
  expect_refused({{"true_cfg_scale", 2}}, "true_cfg_scale");
  expect_refused({{"scheduler", "fastest"}}, "scheduler");
  expect_refused({{"loras", {"x"}}}, "loras");
  expect_refused({{"loras", "first"}}, "loras");
  expect_refused({{"loras", {{{"weight", 1}}}}}, "loras");
  expect_refused({{"loras", {"first", "first"}}}, "loras");
  // Before the rest of the list is looked at.
  const Answer twice = post("/v1/images/generations", {{"prompt", "x"}, {"loras", {"first", "first", "x"}}});
  EXPECT_NE(twice.body.find("twice"), std::string::npos) << twice.body;
  expect_refused({{"loras", {"../first"}}}, "loras");
  expect_refused({{"loras", {"wrong"}}}, "loras");
  expect_refused({{"strength", 0.5}}, "strength");
  expect_refused({{"seed", -1}}, "seed");
  expect_refused({{"temperature", 1}}, "temperature");
  expect_refused({{"model", "dall-e-3"}}, "model", 404);
  EXPECT_EQ(post("/v1/images/generations", nlohmann::json::array()).status, 400);
  Client garbage(server().port());
  garbage.send(request_text("POST", "/v1/images/generations", "{\"prompt\": "));
  EXPECT_EQ(garbage.read().status, 400);
  EXPECT_EQ(post("/v1/images/variations", {}).status, 501);
  // What is wrong is said before a stream begins.
  EXPECT_EQ(post("/v1/images/generations", {{"prompt", "x"}, {"stream", true}, {"size", "33x32"}}).status, 400);
}

// Of a model that is not loaded yet, which alone knows the size that the request leaves out.
TEST(ServerOpenAi, ALargePictureIsRefusedOnceItsSizeIsKnown) {
  const std::string tiny = tiny_model().string();
  const Running running([](ServerOptions& o) { o.engine.pixels = 32 * 32 - 1; }, model_entries({"a=" + tiny, "b=" + tiny}));
  for (const char* model : {"b", "a"}) {
    const Answer answer = ask(running.port(), "POST", "/v1/images/generations", {{"prompt", "x"}, {"num_inference_steps", 1}, {"model", model}});
    EXPECT_EQ(answer.status, 400) << model;
    EXPECT_EQ(answer.json()["error"]["param"], "size") << answer.body;
  }
}

TEST(ServerOpenAi, ListsModels) {
  const auto models = ask(server().port(), "GET", "/v1/models").json();
  EXPECT_EQ(models["object"], "list");
  ASSERT_EQ(models["data"].size(), 1u);
  EXPECT_EQ(models["data"][0]["id"], "tiny");
  EXPECT_EQ(models["data"][0]["object"], "model");
  EXPECT_EQ(models["data"][0]["defaults"]["width"], 32);
  EXPECT_EQ(ask(server().port(), "GET", "/v1/models/tiny").json()["class_name"], "StableDiffusionXLPipeline");
  EXPECT_EQ(ask(server().port(), "GET", "/v1/models/other").status, 404);
}

TEST(ServerOpenAi, ListsModelsThatBeginWithAPicture) {
  for (const char* class_name : {"StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"}) {
    const TempFolder folder;
    const Running running({}, model_entries({tiny_as(folder, class_name)}));
    const Answer answer = ask(running.port(), "GET", "/v1/models");
    EXPECT_EQ(answer.status, 200) << answer.body;
    EXPECT_EQ(answer.json()["data"][0]["class_name"], class_name);
    EXPECT_EQ(answer.json()["data"][0]["defaults"]["width"], 32);
  }
}

}  // namespace
}  // namespace vivace::server
