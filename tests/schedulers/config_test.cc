// Configs: names, defaults, what moves between classes, and what is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/log.h"
#include "schedulers/scheduler_base.h"
#include "vivace/error.h"
#include "vivace/generator.h"

namespace vivace {
namespace {

using Json = nlohmann::json;

Json fields(const Scheduler& scheduler) { return strict_json(scheduler.config_json()); }

// The call throws exactly E, and its message is one line that holds each of `parts`.
template <class E>
void expect_error(const std::function<void()>& call, std::initializer_list<std::string_view> parts) {
  try {
    call();
    ADD_FAILURE() << "no error";
  } catch (const E& error) {
    const std::string what = error.what();
    EXPECT_EQ(typeid(error), typeid(E)) << what;
    EXPECT_EQ(what.find('\n'), std::string::npos) << what;
    for (std::string_view part : parts) EXPECT_NE(what.find(part), std::string::npos) << part << " in: " << what;
  }
}

TEST(SchedulerNames, ClassAndShortNames) {
  EXPECT_EQ(list_schedulers().size(), 24u);
  for (const std::string& name : list_schedulers()) EXPECT_EQ(make_scheduler(name)->class_name(), name);
  const std::pair<const char*, const char*> names[] = {{"euler", "EulerDiscreteScheduler"},
                                                       {"euler_a", "EulerAncestralDiscreteScheduler"},
                                                       {"ddim", "DDIMScheduler"},
                                                       {"ddpm", "DDPMScheduler"},
                                                       {"dpmsolver++", "DPMSolverMultistepScheduler"},
                                                       {"dpmpp_2m", "DPMSolverMultistepScheduler"},
                                                       {"unipc", "UniPCMultistepScheduler"},
                                                       {"pndm", "PNDMScheduler"},
                                                       {"heun", "HeunDiscreteScheduler"},
                                                       {"lcm", "LCMScheduler"},
                                                       {"flow_match_euler", "FlowMatchEulerDiscreteScheduler"},
                                                       {"dpmpp_2s", "DPMSolverSinglestepScheduler"},
                                                       {"dpmpp_sde", "DPMSolverSDEScheduler"},
                                                       {"deis", "DEISMultistepScheduler"},
                                                       {"lms", "LMSDiscreteScheduler"},
                                                       {"dpm2", "KDPM2DiscreteScheduler"},
                                                       {"dpm2_a", "KDPM2AncestralDiscreteScheduler"},
                                                       {"sa_solver", "SASolverScheduler"},
                                                       {"tcd", "TCDScheduler"},
                                                       {"edm_euler", "EDMEulerScheduler"},
                                                       {"edm_dpmpp_2m", "EDMDPMSolverMultistepScheduler"},
                                                       {"flow_match_heun", "FlowMatchHeunDiscreteScheduler"},
                                                       {"flow_match_lcm", "FlowMatchLCMScheduler"},
                                                       {"cogvideox_ddim", "CogVideoXDDIMScheduler"},
                                                       {"cogvideox_dpm", "CogVideoXDPMScheduler"}};
  for (const auto& [short_name, class_name] : names) EXPECT_EQ(make_scheduler(short_name)->class_name(), class_name);
  EXPECT_EQ(fields(*make_scheduler("dpmpp_2m_sde"))["algorithm_type"], "sde-dpmsolver++");
  EXPECT_EQ(fields(*make_scheduler("dpmpp_2m_sde", "{}", R"({"algorithm_type": "dpmsolver++"})"))["algorithm_type"], "dpmsolver++");
  expect_error<UsageError>([] { make_scheduler("dpm++"); }, {"\"dpm++\"", "EulerDiscreteScheduler", "flow_match_euler"});
}

TEST(SchedulerConfigs, KeepsSharedFieldsIgnoresOthersAndCarriesThemOn) {
  const auto dpm = DPMSolverMultistepScheduler::from_config(
      R"({"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "solver_order": 3, "timestep_spacing": "trailing"})");
  const auto euler = EulerDiscreteScheduler::from_config(dpm->config());
  EXPECT_EQ(fields(*euler)["_class_name"], "EulerDiscreteScheduler");
  EXPECT_EQ(fields(*euler)["timestep_spacing"], "trailing");
  EXPECT_EQ(fields(*euler)["beta_start"], 0.00085);
  const auto back = DPMSolverMultistepScheduler::from_config(euler->config());
  EXPECT_EQ(fields(*back)["solver_order"], 3);
}

TEST(SchedulerConfigs, DefaultsDoNotTravel) {
  // DDIM's default spacing is "leading", Euler's "linspace": neither was chosen by anyone.
  const auto ddim = DDIMScheduler::from_config(R"({"beta_end": 0.012})");
  EXPECT_EQ(fields(*ddim)["timestep_spacing"], "leading");
  const auto euler = EulerDiscreteScheduler::from_config(ddim->config());
  EXPECT_EQ(fields(*euler)["timestep_spacing"], "linspace");
  EXPECT_EQ(fields(*euler)["beta_end"], 0.012);
  const auto chosen = EulerDiscreteScheduler::from_config(DDIMScheduler::from_config(R"({"timestep_spacing": "leading"})")->config());
  EXPECT_EQ(fields(*chosen)["timestep_spacing"], "leading");
}

TEST(SchedulerConfigs, OverridesWin) {
  const auto dpm = DPMSolverMultistepScheduler::from_config(R"({"use_karras_sigmas": false})", R"({"use_karras_sigmas": true})");
  EXPECT_EQ(fields(*dpm)["use_karras_sigmas"], true);
}

TEST(SchedulerConfigs, AnOverrideThatTheClassDoesNotDeclareIsDropped) {
  // A field of the config itself is carried on, and some classes look at it there.
  std::vector<std::string> warnings;
  set_log_sink([&](LogLevel, const std::string& text) { warnings.push_back(text); });
  const auto dpm =
      DPMSolverMultistepScheduler::from_config(R"({"sigma_min": 0.05})", R"({"sigma_min": 0.5, "sigma_max": 9, "use_karras_sigmas": true})");
  make_scheduler("dpmpp_2m_sde", R"({"clip_sample": true})", R"({"_class_name": "DDIMScheduler", "solver_order": 1})");
  set_log_sink(nullptr);
  EXPECT_EQ(warnings, std::vector<std::string>{"DPMSolverMultistepScheduler has no sigma_max and no sigma_min: what was given for it is ignored"});
  EXPECT_EQ(fields(*dpm)["sigma_min"], 0.05);
  EXPECT_FALSE(fields(*dpm).contains("sigma_max"));
  const auto same = DPMSolverMultistepScheduler::from_config(R"({"sigma_min": 0.05})", R"({"use_karras_sigmas": true})");
  for (const auto& scheduler : {&dpm, &same}) (*scheduler)->set_timesteps(5);
  EXPECT_EQ(dpm->sigmas(), same->sigmas());
}

TEST(SchedulerConfigs, AnEtaThatNobodyReadsIsTold) {
  std::vector<std::string> warnings;
  set_log_sink([&](LogLevel, const std::string& text) { warnings.push_back(text); });
  for (const char* name : {"ddim", "tcd", "euler_a", "lcm"})
    for (const double eta : {0., .5}) make_scheduler(name)->set_timesteps({.num_inference_steps = 2, .eta = eta});
  set_log_sink(nullptr);
  EXPECT_EQ(warnings,
            (std::vector<std::string>{"EulerAncestralDiscreteScheduler has no eta: 0.5 is ignored", "LCMScheduler has no eta: 0.5 is ignored"}));
}

TEST(SchedulerConfigs, ForcedValuesHoldAndDefaultsStayDefaults) {
  const auto absent = make_scheduler_forced("ddim", "{}", "{}", R"({"clip_sample": false, "steps_offset": 1})");
  EXPECT_EQ(fields(*absent)["clip_sample"], false);
  EXPECT_EQ(fields(*absent)["steps_offset"], 1);
  EXPECT_EQ(fields(*DDIMScheduler::from_config(absent->config()))["clip_sample"], true) << "nobody had chosen it";
  const auto given = make_scheduler_forced("ddim", R"({"clip_sample": true})", "{}", R"({"clip_sample": false})");
  EXPECT_EQ(fields(*DDIMScheduler::from_config(given->config()))["clip_sample"], false);
}

TEST(SchedulerConfigs, ANullFlagIsFalse) {
  const auto ddim = make_scheduler("ddim", R"({"clip_sample": null})");
  const auto off = make_scheduler("ddim", R"({"clip_sample": false})");
  for (const auto& scheduler : {&ddim, &off}) (*scheduler)->set_timesteps(3);
  const Tensor sample = Generator(1).randn({1, 4, 4, 4}), output = Generator(2).randn({1, 4, 4, 4});
  const Tensor a = ddim->step(output, 0, sample, {}), b = off->step(output, 0, sample, {});
  for (int64_t i = 0; i < a.numel(); ++i) ASSERT_EQ(a.floats()[i], b.floats()[i]);
}

TEST(SchedulerConfigs, ReadsWhatPythonWrites) {
  EXPECT_NO_THROW(make_scheduler("dpmpp_2m", R"({"variance_type": "fixed_small", "solver_order": 4})"));
  EXPECT_NO_THROW(make_scheduler("dpmpp_2m", R"({"variance_type": "learned_range", "prediction_type": "v_prediction"})"));
  EXPECT_NO_THROW(make_scheduler(
      "dpmsolver++", R"({"lambda_min_clipped": -Infinity, "trained_betas": null, "variance_type": null, "_diffusers_version": "0.42.1"})"));
  EXPECT_NO_THROW(make_scheduler("unipc", R"({"solver_p": null, "disable_corrector": [], "sigma_min": null, "use_karras_sigmas": null})"));
  const auto dpm = make_scheduler("dpmsolver++", R"({"lambda_min_clipped": -Infinity})");
  EXPECT_NO_THROW(make_scheduler("dpmsolver++", dpm->config()));
}

TEST(SchedulerConfigs, ReplacesSolverTypesOfOtherClassesAsDiffusersDoes) {
  EXPECT_EQ(fields(*make_scheduler("dpmsolver++", R"({"solver_type": "bh2"})"))["solver_type"], "midpoint");
  EXPECT_EQ(fields(*make_scheduler("unipc", R"({"solver_type": "midpoint"})"))["solver_type"], "bh2");
  EXPECT_EQ(fields(*make_scheduler("dpmsolver++", R"({"algorithm_type": "deis", "final_sigmas_type": "sigma_min"})"))["algorithm_type"],
            "dpmsolver++");
}

TEST(SchedulerConfigs, ReplacesWhatBelongsToOtherSolvers) {
  EXPECT_EQ(fields(*make_scheduler("deis", R"({"solver_type": "midpoint"})"))["solver_type"], "logrho");
  EXPECT_EQ(fields(*make_scheduler("deis", R"({"algorithm_type": "dpmsolver++"})"))["algorithm_type"], "deis");
  EXPECT_EQ(fields(*make_scheduler("dpmpp_2s", R"({"solver_type": "logrho"})"))["solver_type"], "midpoint");
  EXPECT_EQ(fields(*make_scheduler("edm_dpmpp_2m", R"({"solver_type": "bh1"})"))["solver_type"], "midpoint");
}

TEST(SchedulerConfigs, RefusesValuesByName) {
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"euler", R"({"prediction_type": "noise"})", "prediction_type"},
      {"euler_a", R"({"prediction_type": "sample"})", "prediction_type"},
      {"pndm", R"({"prediction_type": "sample"})", "prediction_type"},
      {"unipc", R"({"prediction_type": "flow_prediction", "predict_x0": false})", "prediction_type"},
      {"dpmsolver++", R"({"prediction_type": "flow_prediction", "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"})",
       "prediction_type"},
      {"euler", R"({"beta_schedule": "sigmoid"})", "beta_schedule"},
      {"ddim", R"({"beta_schedule": "exp"})", "beta_schedule"},
      {"ddpm", R"({"variance_type": "learned_range"})", "variance_type"},
      {"ddpm", R"({"variance_type": "fixed_large_log"})", "variance_type"},
      {"heun", R"({"timestep_spacing": "random"})", "timestep_spacing"},
      {"euler", R"({"interpolation_type": "cubic"})", "interpolation_type"},
      {"euler", R"({"timestep_type": "half"})", "timestep_type"},
      {"euler", R"({"final_sigmas_type": "one"})", "final_sigmas_type"},
      {"euler", R"({"use_karras_sigmas": true, "use_beta_sigmas": true})", "use_karras_sigmas"},
      {"euler", R"({"sigma_min": 0})", "sigma_min"},
      {"euler", R"({"num_train_timesteps": 0})", "num_train_timesteps"},
      {"euler", R"({"num_train_timesteps": 100000000})", "num_train_timesteps"},
      {"euler", R"({"beta_start": -1})", "beta_start"},
      {"euler", R"({"beta_end": 1.5})", "beta_end"},
      {"euler", R"({"beta_end": NaN})", "beta_end"},
      {"euler", R"({"trained_betas": [0.1, 0.2]})", "trained_betas"},
      {"euler", R"({"trained_betas": [0.1, 2.0], "num_train_timesteps": 2})", "trained_betas"},
      {"euler", R"({"steps_offset": -1})", "steps_offset"},
      {"dpmsolver++", R"({"algorithm_type": "dpmsolver+++"})", "algorithm_type"},
      {"dpmsolver++", R"({"algorithm_type": "dpmsolver"})", "final_sigmas_type"},
      {"dpmsolver++", R"({"solver_order": 0})", "solver_order"},
      {"dpmsolver++", R"({"solver_type": "rk4"})", "solver_type"},
      {"dpmsolver++", R"({"variance_type": "learned"})", "variance_type"},
      {"dpmsolver++", R"({"time_shift_type": "linear"})", "time_shift_type"},
      {"unipc", R"({"solver_order": 0})", "solver_order"},
      {"unipc", R"({"solver_p": {"x": 1}})", "solver_p"},
      {"unipc", R"({"shift_terminal": 0.1})", "shift_terminal"},
      {"ddim", R"({"dynamic_thresholding_ratio": 1.5})", "dynamic_thresholding_ratio"},
      {"ddim", R"({"clip_sample_range": -1})", "clip_sample_range"},
      {"lcm", R"({"original_inference_steps": 2000})", "original_inference_steps"},
      {"flow_match_euler", R"({"time_shift_type": "cubic"})", "time_shift_type"},
      {"flow_match_euler", R"({"shift": 0})", "shift"},
      {"flow_match_heun", R"({"shift": 0})", "shift"},
      {"flow_match_lcm", R"({"scale_factors": [0.5, 1.0]})", "scale_factors"},
      {"flow_match_lcm", R"({"upscale_mode": "lanczos"})", "upscale_mode"},
      {"dpmpp_2s", R"({"solver_order": 4})", "solver_order"},
      {"dpmpp_2s", R"({"algorithm_type": "sde-dpmsolver"})", "algorithm_type"},
      {"dpmpp_2s", R"({"algorithm_type": "dpmsolver"})", "final_sigmas_type"},
      {"dpmpp_2s", R"({"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min", "thresholding": true})", "thresholding"},
      {"dpmpp_sde", R"({"prediction_type": "sample"})", "prediction_type"},
      {"dpmpp_sde", R"({"noise_sampler_seed": -1})", "noise_sampler_seed"},
      {"dpmpp_sde", R"({"noise_sampler_seed": "7"})", "noise_sampler_seed"},
      {"deis", R"({"algorithm_type": "sde-dpmsolver++"})", "algorithm_type"},
      {"deis", R"({"solver_type": "rk4"})", "solver_type"},
      {"lms", R"({"prediction_type": "flow_prediction"})", "prediction_type"},
      {"dpm2", R"({"prediction_type": "sample"})", "prediction_type"},
      {"dpm2_a", R"({"beta_schedule": "exp"})", "beta_schedule"},
      {"sa_solver", R"({"predictor_order": 5})", "predictor_order"},
      {"sa_solver", R"({"corrector_order": 0})", "corrector_order"},
      {"sa_solver", R"({"tau_func": "lambda t: 1"})", "tau_func"},
      {"sa_solver", R"({"algorithm_type": "noise_prediction", "thresholding": true})", "thresholding"},
      {"sa_solver", R"({"variance_type": "learned_range"})", "variance_type"},
      {"cogvideox_ddim", R"({"snr_shift_scale": 0})", "snr_shift_scale"},
      {"cogvideox_dpm", R"({"beta_schedule": "exp"})", "beta_schedule"},
      {"tcd", R"({"original_inference_steps": 0})", "original_inference_steps"},
      {"edm_euler", R"({"sigma_schedule": "beta"})", "sigma_schedule"},
      {"edm_euler", R"({"prediction_type": "sample"})", "prediction_type"},
      {"edm_euler", R"({"rho": 0})", "rho"},
      {"edm_dpmpp_2m", R"({"sigma_data": -1})", "sigma_data"},
      {"edm_dpmpp_2m", R"({"algorithm_type": "dpmsolver"})", "algorithm_type"},
      {"edm_dpmpp_2m", R"({"algorithm_type": "sde-dpmsolver++", "solver_order": 3})", "solver_order"},
  };
  for (const auto& [name, config, field] : cases) {
    SCOPED_TRACE(cat(name, " ", config));
    expect_error<UserError>([&] { make_scheduler(name, config); }, {field});
  }
}

TEST(SchedulerConfigs, RefusesWrongTypesByName) {
  const std::pair<const char*, const char*> cases[] = {{R"({"num_train_timesteps": "1000"})", "num_train_timesteps"},
                                                       {R"({"num_train_timesteps": 1000.5})", "num_train_timesteps"},
                                                       {R"({"beta_start": "0.1"})", "beta_start"},
                                                       {R"({"beta_schedule": 3})", "beta_schedule"},
                                                       {R"({"use_karras_sigmas": 1})", "use_karras_sigmas"},
                                                       {R"({"use_karras_sigmas": "true"})", "use_karras_sigmas"},
                                                       {R"({"trained_betas": 0.1})", "trained_betas"},
                                                       {R"({"trained_betas": ["a"]})", "trained_betas"},
                                                       {R"({"sigma_max": [1]})", "sigma_max"},
                                                       {R"({"prediction_type": null, "steps_offset": true})", "steps_offset"},
                                                       {R"({"_use_default_values": "beta_end"})", "_use_default_values"}};
  for (const auto& [config, field] : cases) {
    SCOPED_TRACE(config);
    expect_error<UserError>([&] { make_scheduler("unipc", config); }, {field, "expected"});
  }
  for (const char* config : {"", "[]", "3", "{\"a\":", "null"}) {
    SCOPED_TRACE(config);
    expect_error<UserError>([&] { make_scheduler("euler", config); }, {"EulerDiscreteScheduler config"});
    expect_error<UserError>([&] { make_scheduler("euler", "{}", config); }, {"EulerDiscreteScheduler config overrides"});
  }
}

TEST(SetTimesteps, RefusesTheNumberOfSteps) {
  for (const std::string& name : list_schedulers()) {
    SCOPED_TRACE(name);
    const auto scheduler = make_scheduler(name);
    for (int steps : {0, -5, 1001})
      expect_error<UsageError>([&] { scheduler->set_timesteps(steps); }, {name, "num_inference_steps", std::to_string(steps)});
    expect_error<UsageError>([&] { scheduler->set_timesteps(SchedulerTimesteps{}); }, {name, "num_inference_steps"});
  }
  for (const char* name : {"lcm", "tcd"}) expect_error<UsageError>([&] { make_scheduler(name)->set_timesteps(51); }, {"num_inference_steps", "50"});
  expect_error<UsageError>([] { make_scheduler("pndm")->set_timesteps(3); }, {"num_inference_steps", "skip_prk_steps"});
}

TEST(SetTimesteps, RefusesWhatAClassDoesNotTake) {
  const auto with = [](auto set) {
    SchedulerTimesteps request;
    set(request);
    return request;
  };
  const SchedulerTimesteps timesteps = with([](auto& r) { r.timesteps = {900, 500, 100}; });
  const SchedulerTimesteps sigmas = with([](auto& r) { r.sigmas = {10, 1, 0}; });
  const SchedulerTimesteps mu = with([](auto& r) { r.num_inference_steps = 5, r.mu = 1; });
  for (const char* name : {"euler_a", "ddim", "pndm", "unipc", "dpmpp_sde", "deis", "lms", "dpm2", "sa_solver", "edm_euler", "flow_match_heun"})
    expect_error<UsageError>([&] { make_scheduler(name)->set_timesteps(timesteps); }, {"timesteps", "not supported"});
  for (const char* name : {"euler_a", "ddim", "pndm", "unipc", "dpmsolver++", "heun", "lcm", "tcd", "dpmpp_2s", "lms", "edm_dpmpp_2m"})
    expect_error<UsageError>([&] { make_scheduler(name)->set_timesteps(sigmas); }, {"sigmas", "not supported"});
  for (const char* name : {"euler", "euler_a", "ddim", "pndm", "heun", "lcm", "tcd", "sa_solver", "flow_match_heun"})
    expect_error<UsageError>([&] { make_scheduler(name)->set_timesteps(mu); }, {"mu"});
  for (const char* name : {"dpmsolver++", "dpmpp_2s", "deis"})
    expect_error<UsageError>([&] { make_scheduler(name)->set_timesteps(mu); }, {"use_dynamic_shifting"});
  for (const char* name : {"flow_match_euler", "flow_match_lcm", "unipc"})
    expect_error<UsageError>([&] { make_scheduler(name, R"({"use_dynamic_shifting": true})")->set_timesteps(5); }, {"mu"});
  for (const char* name : {"euler", "dpmsolver++", "dpmpp_2s", "heun"})
    expect_error<UsageError>([&] { make_scheduler(name, R"({"use_karras_sigmas": true})")->set_timesteps(timesteps); }, {"timesteps", "karras"});

  const auto refuse = [&](const char* name, auto set, std::string_view part) {
    expect_error<UsageError>([&] { make_scheduler(name)->set_timesteps(with(set)); }, {part});
  };
  refuse(
      "euler",
      [](auto& r) {
        r.timesteps = {900}, r.sigmas = {10, 0};
      },
      "only one of");
  refuse(
      "euler",
      [](auto& r) {
        r.timesteps = {900, 100}, r.num_inference_steps = 3;
      },
      "2 steps");
  refuse(
      "euler", [](auto& r) { r.sigmas = {1}; }, "no step");
  refuse(
      "euler",
      [](auto& r) {
        r.sigmas = {1, NAN, 0};
      },
      "finite");
  refuse(
      "euler", [](auto& r) { r.timesteps = {-1}; }, "negative");
  refuse(
      "flow_match_euler",
      [](auto& r) {
        r.sigmas = {1, 0.5}, r.timesteps = {1000};
      },
      "as many");
  for (const char* name : {"lcm", "ddpm"}) {
    refuse(
        name,
        [](auto& r) {
          r.timesteps = {500, 500};
        },
        "descending");
    refuse(
        name,
        [](auto& r) {
          r.timesteps = {1000, 500};
        },
        "num_train_timesteps");
  }
  refuse(
      "lcm", [](auto& r) { r.num_inference_steps = 4, r.strength = 0; }, "strength");
  refuse(
      "lcm", [](auto& r) { r.num_inference_steps = 4, r.original_inference_steps = 0; }, "original_inference_steps");
  refuse(
      "tcd", [](auto& r) { r.num_inference_steps = 4, r.eta = 1.5; }, "eta must be from 0 to 1");
}

TEST(SetTimesteps, NamesTheStepThatHasNoFiniteFormula) {
  // No signal is left at the last training timestep, so epsilon says nothing about the original there.
  const auto ddim = make_scheduler("ddim", R"({"rescale_betas_zero_snr": true, "timestep_spacing": "trailing", "clip_sample": false})");
  ddim->set_timesteps(10);
  expect_error<UserError>([&] { ddim->input_scale(0); }, {"DDIMScheduler: step 0", "prediction_type"});
  EXPECT_NO_THROW(ddim->input_scale(1));
  const Tensor x = Tensor::zeros({1, 4});
  expect_error<UserError>([&] { ddim->step(x, 0, x); }, {"step 0"});
  expect_error<UserError>(
      [] {
        make_scheduler("dpmsolver++", R"({"algorithm_type": "sde-dpmsolver", "solver_order": 3, "final_sigmas_type": "sigma_min"})")
            ->set_timesteps(20);
      },
      {"solver_order 3", "sde-dpmsolver"});
  expect_error<UserError>([] { make_scheduler("ddim", R"({"steps_offset": 1})")->set_timesteps(1000); }, {"timestep 1000", "steps_offset"});
}

TEST(SetTimesteps, AFailureLeavesNothingToRun) {
  const auto scheduler = make_scheduler("pndm");
  scheduler->set_timesteps(10);
  EXPECT_FALSE(scheduler->timesteps().empty());
  EXPECT_THROW(scheduler->set_timesteps(2), UsageError);
  EXPECT_TRUE(scheduler->timesteps().empty());
  expect_error<UsageError>([&] { scheduler->input_scale(0); }, {"set_timesteps"});
  expect_error<UsageError>([&] { make_scheduler("euler")->init_noise_sigma(); }, {"set_timesteps"});
}

}  // namespace
}  // namespace vivace
