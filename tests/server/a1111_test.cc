// The routes of AUTOMATIC1111's web UI.
#include "../cli/program.h"
#include "base/json.h"
#include "drawn.h"

namespace vivace::server {
namespace {

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
  nlohmann::json more = body;
  more["unknown"] = more["override_settings"]["unknown"] = std::string(1000, 'x');
  const Answer answer = post("/sdapi/v1/txt2img", more);
  ASSERT_EQ(answer.status, 200) << answer.body;
  const auto json = answer.json();
  ASSERT_EQ(json["images"].size(), 2u);
  EXPECT_EQ(image_of(bytes_of(json["images"][1])).pixels(),
            image_of(generated({"--negative-prompt", "blurry", "--width", "24", "--height", "32", "--seed", "8", "--num-inference-steps", "3",
                                "--guidance-scale", "4", "--scheduler", "ddim"}))
                .pixels());
  EXPECT_EQ(json["parameters"], body) << "what it knows of them";
  const auto info = strict_json(json["info"].get<std::string>());
  EXPECT_EQ(info["all_seeds"], nlohmann::json({7, 8}));
  EXPECT_EQ(info["sd_model_name"], "tiny");
  EXPECT_NE(info["infotexts"][0].get<std::string>().find("Negative prompt: blurry\nSteps: 3"), std::string::npos);
}

// What SillyTavern sends, with all that is for the web UI's own window and files.
TEST(ServerA1111, WhatIsForItsOwnWindowIsIgnored) {
  const auto pixels = [](const nlohmann::json& more) {
    nlohmann::json body{{"prompt", "a red apple"}, {"steps", 2}, {"seed", 7}, {"sampler_name", "DDIM"}};
    body.update(more);
    const Answer answer = post("/sdapi/v1/txt2img", body);
    EXPECT_EQ(answer.status, 200) << answer.body;
    return image_of(bytes_of(answer.json()["images"][0])).pixels();
  };
  EXPECT_EQ(pixels({{"url", "http://localhost:7860"},
                    {"auth", ""},
                    {"restore_faces", false},
                    {"enable_hr", false},
                    {"hr_upscaler", "Latent"},
                    {"hr_scale", 2},
                    {"hr_additional_modules", nlohmann::json::array()},
                    {"hr_second_pass_steps", 0},
                    {"denoising_strength", 0.7},
                    {"override_settings", {{"CLIP_stop_at_last_layers", 1}, {"sd_vae", "Automatic"}}},
                    {"override_settings_restore_afterwards", true},
                    {"clip_skip", 1},
                    {"s_noise", 1},
                    {"seed_resize_from_w", -1},
                    {"save_images", true},
                    {"send_images", true},
                    {"do_not_save_grid", false},
                    {"do_not_save_samples", false}}),
            pixels(nlohmann::json::object()));
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
  for (const char* sampler : {"DDIM", "Euler a", "LCM"}) refused({{"sampler_name", sampler}, {"scheduler", "Karras"}}, "scheduler");
  refused({{"steps", 0}}, "steps");
  refused({{"s_churn", 5}}, "s_churn");
  refused({{"s_noise", 1.1}}, "s_noise");
  refused({{"seed_resize_from_w", 512}}, "seed_resize_from_w");
  refused({{"override_settings", {{"sd_vae", "other.safetensors"}}}}, "sd_vae");
  refused({{"override_settings", {{"initial_noise_multiplier", 1.2}}}}, "initial_noise_multiplier");
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
  EXPECT_NE(bytes_of(karras).find("Sampler: euler, Schedule type: Karras, CFG scale"), std::string::npos);
  EXPECT_NE(bytes_of(picture({{"sampler_name", "DDIM"}, {"eta", 0.5}, {"clip_skip", 2}})).find("Clip skip: 2, Eta: 0.5"), std::string::npos);
  EXPECT_NE(karras, picture({{"sampler_name", "Euler"}}));
  EXPECT_EQ(picture({{"sampler_name", "Euler"}}), picture({{"sampler_index", "Euler"}, {"scheduler", "automatic"}}));
}

TEST(ServerA1111, ProgressInterruptAndSkipAreOfTheCallersJob) {
  const auto of = [](const std::string& task) { return ask(server().port(), "GET", "/sdapi/v1/progress?force_task_id=" + task).json(); };
  EXPECT_EQ(ask(server().port(), "GET", "/sdapi/v1/progress").json()["progress"], 0.0);
  Client drawing(server().port());
  drawing.send(request_text("POST", "/sdapi/v1/txt2img",
                            json_text(nlohmann::json{{"prompt", "x"}, {"steps", 1000}, {"n_iter", 3}, {"seed", 1}, {"force_task_id", "mine"}})));
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
  EXPECT_EQ(strict_json(drawn.json()["info"].get<std::string>())["sd_model_name"], "b");
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
  ASSERT_EQ(list("loras").size(), 3u);
  EXPECT_EQ(list("loras")[0]["name"], "first");
  for (const char* empty : {"sd-vae", "latent-upscale-modes"}) EXPECT_EQ(list(empty), nlohmann::json::array()) << empty;
  EXPECT_GT(list("memory")["ram"]["used"], 0);
  for (const char* name : {"checkpoints", "loras", "vae"}) EXPECT_EQ(post(std::string("/sdapi/v1/refresh-") + name, nullptr).status, 200);
  // Each of its names is one that the engine knows.
  for (const auto& sampler : list("samplers"))
    EXPECT_EQ(post("/sdapi/v1/txt2img", {{"prompt", "x"}, {"steps", 2}, {"sampler_name", sampler["name"]}}).status, 200) << sampler;
}

}  // namespace
}  // namespace vivace::server
