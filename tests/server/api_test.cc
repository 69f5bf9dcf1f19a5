// Pictures by each of the interfaces.
#include <algorithm>

#include "../cli/program.h"
#include "base/joined.h"
#include "client.h"
#include "encode.h"
#include "job_queue.h"

namespace vivace::server {
namespace {

const Running& server() {
  static const Running running([](ServerOptions& o) { o.engine.preview_seconds = 0; });
  return running;
}

Answer post(const std::string& path, const nlohmann::json& body) { return ask(server().port(), "POST", path, body); }

Image image_of(const std::string& bytes) {
  const TempFolder folder;
  write_text(folder / "x.png", bytes);
  return Image::load(folder / "x.png");
}

// What the program draws, with these arguments.
std::string generated(std::vector<std::string> more) {
  const TempFolder folder;
  std::vector<std::string> arguments{"generate", "a red apple", "--model", tiny_model(), "-q", "--threads", "2", "-o", (folder / "x.png").string()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  EXPECT_EQ(vivace(arguments).code, 0);
  return read_text(folder / "x.png");
}

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
    const std::string bytes = from_base64(json["data"][i]["b64_json"]);
    EXPECT_EQ(image_of(bytes).pixels(),
              image_of(generated({"--negative-prompt", "blurry", "--width", "24", "--height", "32", "--seed", std::to_string(7 + i),
                                  "--num-inference-steps", "3", "--guidance-scale", "4", "--scheduler", "ddim"}))
                  .pixels());
    EXPECT_NE(bytes.find("Steps: 3, Sampler: DDIMScheduler, CFG scale: 4, Seed: " + std::to_string(7 + i) + ", Size: 24x32"), std::string::npos);
  }
  EXPECT_EQ(json["size"], "24x32");
  EXPECT_EQ(json["usage"]["output_tokens"], 2 * 24 * 32 / 256);
  EXPECT_EQ(json["usage"]["input_tokens"], 5);  // three words and the ends
  // The next call has the model's own scheduler again.
  const Answer own = post("/v1/images/generations", {{"prompt", "a red apple"}, {"seed", 7}, {"num_inference_steps", 3}});
  EXPECT_EQ(image_of(from_base64(own.json()["data"][0]["b64_json"])).pixels(),
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

TEST(ServerOpenAi, FewerStepsForLessQuality) {
  const auto steps = [](const char* quality) {
    const Answer answer = post("/v1/images/generations", {{"prompt", "x"}, {"quality", quality}});
    const std::string bytes = from_base64(answer.json()["data"][0]["b64_json"]);
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
    const Image image = image_of(from_base64(event.data["b64_json"]));
    if (i % 4 < 3) {
      EXPECT_EQ(event.data["partial_image_index"], i % 4);
      EXPECT_EQ(image.width(), 8);  // a pixel for each of the latents: the tiny model's scale is 4
    } else {
      EXPECT_EQ(image.pixels(), image_of(generated({"--seed", std::to_string(7 + i / 4), "--num-inference-steps", "8"})).pixels());
      EXPECT_EQ(event.data["usage"]["output_tokens"], 4);
    }
  }
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
  expect_refused({{"output_format", "webp"}}, "output_format");
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
  expect_refused({{"strength", 0.5}}, "strength");
  expect_refused({{"seed", -1}}, "seed");
  expect_refused({{"temperature", 1}}, "temperature");
  expect_refused({{"model", "dall-e-3"}}, "model", 404);
  EXPECT_EQ(post("/v1/images/generations", nlohmann::json::array()).status, 400);
  Client garbage(server().port());
  garbage.send(request_text("POST", "/v1/images/generations", "{\"prompt\": "));
  EXPECT_EQ(garbage.read().status, 400);
  for (const char* path : {"/v1/images/edits", "/v1/images/variations"}) EXPECT_EQ(post(path, {}).status, 501) << path;
  // What is wrong is said before a stream begins.
  EXPECT_EQ(post("/v1/images/generations", {{"prompt", "x"}, {"stream", true}, {"size", "33x32"}}).status, 400);
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

TEST(ServerJobs, FromTheBeginningToTheImage) {
  const Answer made = post("/jobs", {{"prompt", "a red apple"}, {"num_inference_steps", 20}, {"seed", 7}, {"width", 24}});
  ASSERT_EQ(made.status, 202) << made.body;
  const std::string path = "/jobs/" + made.json()["id"].get<std::string>();
  EXPECT_TRUE(made.has_header("Location: " + path));
  const std::vector<Event> events = events_of(ask(server().port(), "GET", path + "/events").body);
  ASSERT_GE(events.size(), 3u);
  EXPECT_EQ(events.front().name, "status");
  EXPECT_EQ(events.back().name, "done");
  EXPECT_TRUE(std::ranges::any_of(events, [](const Event& e) { return e.name == "preview"; }));
  const auto last_step = std::ranges::find(events, "step", &Event::name);
  ASSERT_NE(last_step, events.end());
  EXPECT_EQ(last_step->data["steps"], 20);
  const auto status = ask(server().port(), "GET", path).json();
  EXPECT_EQ(status["status"], "done");
  EXPECT_EQ(status["progress"], 1.0);
  const Answer file = ask(server().port(), "GET", status["images"][0]["url"]);
  EXPECT_EQ(image_of(file.body).pixels(), image_of(generated({"--seed", "7", "--num-inference-steps", "20", "--width", "24"})).pixels());
  EXPECT_EQ(ask(server().port(), "GET", path + "/images/1").status, 404);
  EXPECT_EQ(ask(server().port(), "GET", path + "/images/x").status, 404);
  // Gone once it is deleted.
  EXPECT_EQ(ask(server().port(), "DELETE", path).status, 200);
  EXPECT_EQ(ask(server().port(), "GET", path).status, 404);
}

TEST(ServerJobs, DeleteStops) {
  const std::string path = "/jobs/" + post("/jobs", {{"prompt", "x"}, {"num_inference_steps", 1000}}).json()["id"].get<std::string>();
  const std::string waiting = "/jobs/" + post("/jobs", {{"prompt", "x"}, {"num_inference_steps", 1000}}).json()["id"].get<std::string>();
  ASSERT_TRUE(eventually([&] { return ask(server().port(), "GET", path).json()["step"] > 0; }));
  EXPECT_EQ(ask(server().port(), "DELETE", waiting).json()["status"], "cancelled");
  ask(server().port(), "DELETE", path);
  ASSERT_TRUE(eventually([&] { return ask(server().port(), "GET", path).json()["status"] == "cancelled"; }));
  EXPECT_LT(ask(server().port(), "GET", path).json()["step"], 1000);
}

TEST(ServerJobs, ResultsAreKeptForAWhile) {
  const Running running([](ServerOptions& o) { o.result_seconds = 0.3; });
  const std::string path =
      "/jobs/" + ask(running.port(), "POST", "/jobs", {{"prompt", "x"}, {"num_inference_steps", 1}}).json()["id"].get<std::string>();
  EXPECT_TRUE(eventually([&] { return ask(running.port(), "GET", path).status == 404; }));
}

TEST(ServerA1111, Txt2ImgAnswersWhatItsClientsRead) {
  const nlohmann::json body{{"prompt", "a red apple"},
                            {"negative_prompt", "blurry"},
                            {"steps", 3},
                            {"cfg_scale", 4},
                            {"width", 24},
                            {"height", 32},
                            {"seed", 7},
                            {"batch_size", 2},
                            {"sampler_name", "DDIM"},
                            {"scheduler", "Automatic"},
                            {"enable_hr", false},
                            {"restore_faces", false},
                            {"styles", nlohmann::json::array()},
                            {"override_settings", {{"sd_model_checkpoint", "tiny [0123456789]"}, {"CLIP_stop_at_last_layers", 1}}}};
  const Answer answer = post("/sdapi/v1/txt2img", body);
  ASSERT_EQ(answer.status, 200) << answer.body;
  const auto json = answer.json();
  ASSERT_EQ(json["images"].size(), 2u);
  EXPECT_EQ(image_of(from_base64(json["images"][1])).pixels(),
            image_of(generated({"--negative-prompt", "blurry", "--width", "24", "--height", "32", "--seed", "8", "--num-inference-steps", "3",
                                "--guidance-scale", "4", "--scheduler", "ddim"}))
                .pixels());
  EXPECT_EQ(json["parameters"], body);
  const auto info = nlohmann::json::parse(json["info"].get<std::string>());
  EXPECT_EQ(info["all_seeds"], nlohmann::json({7, 8}));
  EXPECT_EQ(info["sd_model_name"], "tiny");
  EXPECT_NE(info["infotexts"][0].get<std::string>().find("Negative prompt: blurry\nSteps: 3"), std::string::npos);
}

TEST(ServerA1111, SaysWhatItCannotDo) {
  const auto refused = [](const nlohmann::json& change, const char* field) {
    nlohmann::json body{{"prompt", "x"}, {"steps", 1}};
    body.update(change);
    const Answer answer = post("/sdapi/v1/txt2img", body);
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_EQ(answer.json()["detail"][0]["loc"][1], field) << answer.body;
  };
  refused({{"enable_hr", true}}, "enable_hr");
  refused({{"restore_faces", true}}, "restore_faces");
  refused({{"tiling", true}}, "tiling");
  refused({{"styles", {"a"}}}, "styles");
  refused({{"alwayson_scripts", {{"x", 1}}}}, "alwayson_scripts");
  refused({{"sampler_name", "Magic"}}, "sampler_name");
  refused({{"scheduler", "Magic"}}, "scheduler");
  refused({{"steps", 0}}, "steps");
  refused({{"width", 33}}, "width");
  refused({{"batch_size", 5}, {"n_iter", 3}}, "n_iter");
  refused({{"override_settings", {{"sd_model_checkpoint", "other"}}}}, "sd_model_checkpoint");
}

TEST(ServerA1111, SpacingsAreThoseOfTheScheduler) {
  const auto picture = [](const nlohmann::json& change) {
    nlohmann::json body{{"prompt", "x"}, {"steps", 4}, {"seed", 1}};
    body.update(change);
    return post("/sdapi/v1/txt2img", body).json()["images"][0].get<std::string>();
  };
  const std::string karras = picture({{"sampler_name", "Euler"}, {"scheduler", "Karras"}});
  EXPECT_EQ(karras, picture({{"sampler_name", "Euler Karras"}}));
  EXPECT_NE(karras, picture({{"sampler_name", "Euler"}}));
  EXPECT_EQ(picture({{"sampler_name", "Euler"}}), picture({{"sampler_index", "Euler"}, {"scheduler", "automatic"}}));
}

TEST(ServerA1111, ProgressInterruptAndSkipAreOfTheCallersJob) {
  const auto of = [](const std::string& task) { return ask(server().port(), "GET", "/sdapi/v1/progress?force_task_id=" + task).json(); };
  EXPECT_EQ(ask(server().port(), "GET", "/sdapi/v1/progress").json()["progress"], 0.0);
  Client drawing(server().port());
  drawing.send(request_text("POST", "/sdapi/v1/txt2img",
                            nlohmann::json{{"prompt", "x"}, {"steps", 1000}, {"n_iter", 3}, {"seed", 1}, {"force_task_id", "mine"}}.dump()));
  ASSERT_TRUE(eventually([&] { return of("mine")["current_image"].is_string(); }));
  EXPECT_EQ(of("mine")["state"]["sampling_steps"], 1000);
  EXPECT_EQ(of("mine")["state"]["job_count"], 3);
  EXPECT_GT(of("mine")["progress"], 0.0);
  EXPECT_GT(ask(server().port(), "GET", "/sdapi/v1/progress?skip_current_image=true").json()["progress"], 0.0);  // by the address
  // Somebody else's name changes nothing.
  EXPECT_EQ(of("other")["progress"], 0.0);
  ask(server().port(), "POST", "/sdapi/v1/interrupt?force_task_id=other");
  EXPECT_EQ(of("mine")["state"]["interrupted"], false);
  ask(server().port(), "POST", "/sdapi/v1/skip?force_task_id=mine");
  ASSERT_TRUE(eventually([&] { return of("mine")["state"]["job_no"] == 1; }));
  ask(server().port(), "POST", "/sdapi/v1/interrupt");
  const Answer answer = drawing.read();
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.json()["images"].size(), 2u);  // the one that was skipped and the one that was interrupted, as they were
}

TEST(ServerA1111, OptionsChooseTheModel) {
  const std::string tiny = tiny_model().string();
  const Running running({}, model_entries({"a=" + tiny, "b=" + tiny}));
  const auto options = [&] { return ask(running.port(), "GET", "/sdapi/v1/options").json(); };
  nlohmann::json all = options();
  EXPECT_EQ(all["sd_model_checkpoint"], "a");
  all["sd_model_checkpoint"] = "b";
  EXPECT_EQ(ask(running.port(), "POST", "/sdapi/v1/options", all).status, 200);
  EXPECT_EQ(options()["sd_model_checkpoint"], "b");
  const Answer drawn = ask(running.port(), "POST", "/sdapi/v1/txt2img", {{"prompt", "x"}, {"steps", 1}});
  EXPECT_EQ(nlohmann::json::parse(drawn.json()["info"].get<std::string>())["sd_model_name"], "b");
  EXPECT_EQ(ask(running.port(), "POST", "/sdapi/v1/options", {{"sd_model_checkpoint", "c"}}).status, 400);
  EXPECT_EQ(ask(running.port(), "POST", "/sdapi/v1/options", {{"sd_vae", "other"}}).status, 400);
  EXPECT_EQ(options()["sd_model_checkpoint"], "b");
}

TEST(ServerA1111, Lists) {
  const auto list = [](const char* name) { return ask(server().port(), "GET", std::string("/sdapi/v1/") + name).json(); };
  EXPECT_EQ(list("sd-models")[0]["title"], "tiny");
  EXPECT_EQ(list("sd-models")[0]["model_name"], "tiny");
  EXPECT_EQ(list("samplers")[0]["name"], "Euler");
  EXPECT_EQ(list("schedulers")[1]["label"], "Karras");
  EXPECT_EQ(list("upscalers")[0]["name"], "None");
  for (const char* empty : {"sd-vae", "latent-upscale-modes", "loras"}) EXPECT_EQ(list(empty), nlohmann::json::array()) << empty;
  EXPECT_GT(list("memory")["ram"]["used"], 0);
  for (const char* name : {"checkpoints", "loras", "vae"}) EXPECT_EQ(post(std::string("/sdapi/v1/refresh-") + name, nullptr).status, 200);
  // Each of its names is one that the engine knows.
  for (const auto& sampler : list("samplers"))
    EXPECT_EQ(post("/sdapi/v1/txt2img", {{"prompt", "x"}, {"steps", 2}, {"sampler_name", sampler["name"]}}).status, 200) << sampler;
}

TEST(ServerPage, IsPartOfTheProgram) {
  const Answer page = ask(server().port(), "GET", "/");
  EXPECT_EQ(page.status, 200);
  EXPECT_TRUE(page.has_header("Content-Type: text/html; charset=utf-8"));
  EXPECT_NE(page.head.find("default-src 'self'"), std::string::npos);
  // It asks for nothing from elsewhere.
  for (const char* path : {"/", "/page.css", "/page.js"}) {
    const Answer file = ask(server().port(), "GET", path);
    EXPECT_EQ(file.status, 200) << path;
    EXPECT_EQ(file.body.find("http://"), std::string::npos) << path;
    EXPECT_EQ(file.body.find("https://"), std::string::npos) << path;
  }
}

TEST(ServerOpenApi, DescribesEveryRoute) {
  auto document = ask(server().port(), "GET", "/openapi.json").json();
  std::vector<std::string> described, there;
  for (const auto& [path, methods] : document["paths"].items())
    for (const auto& [method, operation] : methods.items()) {
      std::string upper = method;
      for (char& c : upper) c = static_cast<char>(std::toupper(c));
      described.push_back(upper + ' ' + path);
    }
  for (const auto routes : {openai_routes(), a1111_routes(), job_routes(), operation_routes()})
    for (const Route& route : routes) {
      there.push_back(std::string(route.method) + ' ' + std::string(route.pattern));
      std::string method(route.method);
      for (char& c : method) c = static_cast<char>(std::tolower(c));
      // What needs no key says so.
      EXPECT_EQ(document["paths"][std::string(route.pattern)][method].contains("security"), !route.needs_key) << there.back();
    }
  std::ranges::sort(described);
  std::ranges::sort(there);
  EXPECT_EQ(joined(described, "\n"), joined(there, "\n"));
}

TEST(ServerQueue, ClientsTakeTurns) {
  using Pushed = JobQueue::Pushed;
  JobQueue queue(10, 4);
  const auto push = [&](const char* client, const char* name) { return queue.push(std::make_shared<Job>(name, client, Drawing{})); };
  for (const char* name : {"a1", "a2", "a3", "a4"}) EXPECT_EQ(push("a", name), Pushed::yes);
  EXPECT_EQ(push("a", "a5"), Pushed::full_for_client);
  for (const char* name : {"b1", "b2"}) EXPECT_EQ(push("b", name), Pushed::yes);
  std::vector<std::string> order;
  for (int i = 0; i < 3; ++i) order.push_back(queue.take()->id);
  EXPECT_EQ(push("c", "c1"), Pushed::yes);
  while (queue.size() > 0) order.push_back(queue.take()->id);
  EXPECT_EQ(joined(order), "a1, b1, a2, b2, a3, c1, a4");
  for (const char* client : {"d", "e", "f", "g", "h", "i", "j", "k", "l", "m"}) EXPECT_EQ(push(client, client), Pushed::yes);
  EXPECT_EQ(push("n", "n"), Pushed::full);
  EXPECT_EQ(queue.close().size(), 10u);
  EXPECT_EQ(push("a", "a7"), Pushed::closed);
  EXPECT_EQ(queue.take(), nullptr);
}

TEST(ServerModels, TheOneNotUsedForLongestGoes) {
  const std::string tiny = tiny_model().string();
  Models models(
      model_entries({"a=" + tiny, "b=" + tiny}), [](const std::string& folder) { return DiffusionPipeline::from_pretrained(folder); }, 1);
  models.load("a")->pipe()("x", {.num_inference_steps = 1});
  models.keep_within_budget("a");
  EXPECT_TRUE(models.loaded("a"));  // the one in use stays
  models.load("b")->pipe()("x", {.num_inference_steps = 1});
  models.keep_within_budget("b");
  EXPECT_FALSE(models.loaded("a"));
  EXPECT_TRUE(models.loaded("b"));
  EXPECT_GT(models.bytes(), 0u);
  EXPECT_THROW(model_entries({tiny, tiny}), UsageError);
  EXPECT_THROW(model_entries({"/nowhere"}), UserError);
}

TEST(ServerEncode, Base64) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("\xff\xfe\xfd\xfc"), "//79/A==");
}

}  // namespace
}  // namespace vivace::server
