"""Golden file for the schedulers: whole loops in Diffusers over a fixed function, for every class and config variant.

    python tools/golden/schedulers.py            # needs torch, diffusers, scipy and torchsde; writes tests/schedulers/data/schedulers.json

The "model" is a float32 function of the (scaled) sample, the timestep and the element's index; tests/schedulers/golden_test.cc has the same.
Each case stores the timesteps, the sigmas where the class has them, init_noise_sigma, some values of the final sample, and the largest
absolute value that any sample, or term of its sum, had on the way.
"""

import json
import math
import os
import warnings

import diffusers
import numpy as np
import torch

torch.set_num_threads(1)
warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()

SHAPE = (2, 4, 3, 4)
OUT = os.path.join(os.path.dirname(__file__), "..", "..", "tests", "schedulers", "data", "schedulers.json")
KEPT = [0, 17, 47, 48, 95]  # indices into the flattened final sample

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SDXL = {**SD, "timestep_spacing": "leading", "steps_offset": 1}


def model(sample, t):
    t = float(t)
    index = np.arange(sample.numel(), dtype=np.float64)
    bias = torch.from_numpy((0.1 * np.sin(0.01 * t + 0.7 * index)).astype(np.float32)).reshape(sample.shape)
    return sample * float(np.float32(0.3 * math.cos(t / 300))) + bias


def run(cls, config, steps=8, seeds=(5,), begin=0, step=None, **request):
    """One case. `request` goes to set_timesteps; `begin` > 0 is image to image; several seeds are per-image generators."""
    scheduler = getattr(diffusers, cls).from_config(dict(config))
    array = torch.tensor if cls.startswith("EDM") else np.array  # EDMEuler and UniPC do not take lists
    arrays = {"sigmas": array(request["sigmas"])} if "sigmas" in request else {}
    scheduler.set_timesteps(**({} if steps is None else {"num_inference_steps": steps}), **{**request, **arrays})
    init = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    if begin:
        original = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(begin)
        at = scheduler.timesteps[begin : begin + 1].repeat(SHAPE[0])
        sample = scheduler.scale_noise(original, at, init) if hasattr(scheduler, "scale_noise") else scheduler.add_noise(original, init, at)
    else:
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
        sample = init * getattr(scheduler, "init_noise_sigma", 1.0)
    generators = [torch.Generator().manual_seed(s) for s in seeds]
    generator = generators[0] if len(generators) == 1 else generators
    extra = dict(step or {})
    if "generator" in scheduler.step.__code__.co_varnames:
        extra["generator"] = generator
    torch.manual_seed(seeds[0])  # DPMSolverSDE's seed comes from the global generator
    old_original = back = None
    peak = float(sample.abs().max())
    for t in scheduler.timesteps[begin:]:
        scaled = scheduler.scale_model_input(sample, t) if hasattr(scheduler, "scale_model_input") else sample
        if cls == "CogVideoXDPMScheduler":
            sample, old_original = scheduler.step(model(scaled, t), old_original, t, back, sample, **extra, return_dict=False)
            back = t
        else:
            sample = scheduler.step(model(scaled, t), t, sample, **extra, return_dict=False)[0]
        peak = max(peak, float(sample.abs().max()))
    assert torch.isfinite(sample).all(), (cls, config)
    if cls.startswith("DEIS"):  # which divides by one step's alpha before it multiplies by the next one's
        alphas = 1 - scheduler.sigmas if config.get("use_flow_sigmas") else (scheduler.sigmas**2 + 1) ** -0.5
        peak *= max(1, float((alphas[1:] / alphas[:-1]).max()))
    numbers = lambda x: [float(np.float32(v)) for v in x]
    case = {
        "class": cls,
        "config": config,
        "request": {**({} if steps is None else {"num_inference_steps": steps}), **request},
        "timesteps": numbers(scheduler.timesteps),
        "init_noise_sigma": float(getattr(scheduler, "init_noise_sigma", 1.0)),
        "sample": numbers(sample.flatten()[KEPT]),
        "peak": peak,
    }
    if hasattr(scheduler, "sigmas"):
        case["sigmas"] = numbers(scheduler.sigmas)
    if begin:
        case["begin"] = begin
    if tuple(seeds) != (5,):
        case["seeds"] = list(seeds)
    if step:
        case["step"] = step
    return case


def spacings(cls, base, **kwargs):
    for spacing in ("linspace", "leading", "trailing"):
        yield run(cls, {**base, "timestep_spacing": spacing, "steps_offset": 1}, steps=7, **kwargs)


def beta_schedules(cls, extra=(), without=(), **more):
    for schedule in ("linear", "scaled_linear", "squaredcos_cap_v2", *extra):
        if schedule in without:
            continue
        yield run(cls, {"beta_start": 0.0005, "beta_end": 0.015, "beta_schedule": schedule, "num_train_timesteps": 800, **more}, steps=5)
    betas = [round(0.001 + 0.0004 * i, 7) for i in range(40)]
    yield run(cls, {"trained_betas": betas, "num_train_timesteps": 40, **more}, steps=4)


def euler():
    cls = "EulerDiscreteScheduler"
    yield run(cls, {})
    for n in (10, 20, 30, 50):
        yield run(cls, SDXL, steps=n)
    yield from beta_schedules(cls)
    yield from spacings(cls, SD)
    for prediction in ("v_prediction", "sample"):
        yield run(cls, {**SDXL, "prediction_type": prediction})
    for kind in ("karras", "exponential", "beta"):
        yield run(cls, {**SDXL, f"use_{kind}_sigmas": True}, steps=9)
        yield run(cls, {**SDXL, f"use_{kind}_sigmas": True, "sigma_min": 0.02, "sigma_max": 20.0}, steps=6)
    yield run(cls, {**SDXL, "interpolation_type": "log_linear"})
    yield run(cls, {**SDXL, "final_sigmas_type": "sigma_min"})
    yield run(cls, {**SD, "prediction_type": "v_prediction", "timestep_spacing": "trailing", "rescale_betas_zero_snr": True})
    karras = {"use_karras_sigmas": True, "sigma_min": 0.002, "sigma_max": 700.0}
    yield run(cls, {**SD, "prediction_type": "v_prediction", "timestep_type": "continuous", **karras})
    yield run(cls, {**SD, "prediction_type": "v_prediction", "timestep_type": "continuous", "interpolation_type": "log_linear"})
    yield run(cls, {**SDXL, "timestep_type": "continuous"})
    yield run(cls, SDXL, steps=None, timesteps=[999, 845, 730, 587, 443, 310, 193, 116, 53, 13])
    yield run(cls, SDXL, steps=None, sigmas=[14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.0])
    yield run(cls, SDXL, begin=3)
    yield run(cls, SDXL, step={"s_churn": 2.0, "s_tmin": 0.1, "s_tmax": 5.0, "s_noise": 1.01})
    yield run(cls, SDXL, steps=1)


def euler_ancestral():
    cls = "EulerAncestralDiscreteScheduler"
    yield run(cls, {})
    yield run(cls, SDXL, steps=12)
    yield run(cls, SDXL, seeds=(11, 12))
    yield from beta_schedules(cls)
    yield from spacings(cls, SD)
    yield run(cls, {**SD, "prediction_type": "v_prediction", "timestep_spacing": "trailing", "rescale_betas_zero_snr": True})
    yield run(cls, SDXL, begin=4)


def ddim():
    cls = "DDIMScheduler"
    yield run(cls, {})
    yield run(cls, {**SDXL, "clip_sample": False, "set_alpha_to_one": False}, steps=20)
    yield from beta_schedules(cls)
    yield from spacings(cls, {**SD, "clip_sample": False})
    for prediction in ("epsilon", "sample", "v_prediction"):
        yield run(cls, {**SDXL, "clip_sample": False, "prediction_type": prediction}, step={"eta": 0.7})
    yield run(cls, {**SDXL, "clip_sample": True, "clip_sample_range": 0.6}, step={"eta": 1.0, "use_clipped_model_output": True}, seeds=(3, 4))
    yield run(cls, {**SDXL, "thresholding": True, "dynamic_thresholding_ratio": 0.9, "sample_max_value": 1.7})
    yield run(cls, {**SD, "clip_sample": False, "prediction_type": "v_prediction", "timestep_spacing": "trailing", "rescale_betas_zero_snr": True})
    yield run(cls, {**SDXL, "clip_sample": False}, begin=5)


def ddpm():
    cls = "DDPMScheduler"
    yield run(cls, {})
    yield run(cls, {**SDXL, "clip_sample": False}, steps=20)
    yield from beta_schedules(cls, extra=("laplace", "sigmoid"))
    yield from spacings(cls, {**SD, "clip_sample": False})
    for prediction in ("epsilon", "sample", "v_prediction"):
        yield run(cls, {**SDXL, "clip_sample": False, "prediction_type": prediction}, seeds=(3, 4))
    for variance in ("fixed_small_log", "fixed_large"):
        yield run(cls, {**SDXL, "variance_type": variance})
    yield run(cls, {**SDXL, "clip_sample_range": 0.6})
    yield run(cls, {**SDXL, "thresholding": True, "dynamic_thresholding_ratio": 0.9, "sample_max_value": 1.7})
    yield run(cls, {**SD, "clip_sample": False, "prediction_type": "v_prediction", "timestep_spacing": "trailing", "rescale_betas_zero_snr": True})
    yield run(cls, {**SD, "clip_sample": False}, steps=None, timesteps=[999, 640, 320, 80, 0])
    yield run(cls, {**SDXL, "clip_sample": False}, steps=1)
    yield run(cls, {**SDXL, "clip_sample": False}, begin=5)


def dpmsolver():
    cls = "DPMSolverMultistepScheduler"
    yield run(cls, {})
    yield run(cls, SDXL, steps=20)
    yield from beta_schedules(cls)
    yield from spacings(cls, SD)
    for algorithm in ("dpmsolver++", "sde-dpmsolver++", "dpmsolver", "sde-dpmsolver"):
        final = {} if algorithm.endswith("++") else {"final_sigmas_type": "sigma_min"}
        for order in (1, 2, 3):
            for solver in ("midpoint", "heun"):
                if (order != 2 and solver == "heun") or (order == 3 and algorithm == "sde-dpmsolver"):
                    continue
                config = {**SD, "algorithm_type": algorithm, "solver_order": order, "solver_type": solver, **final}
                yield run(cls, config, steps=16 if order == 3 else 9)
    yield run(cls, {**SD, "solver_order": 3}, steps=10)
    yield run(cls, {**SD, "euler_at_final": True, "final_sigmas_type": "sigma_min"}, steps=16)
    yield run(cls, {**SD, "lower_order_final": False, "final_sigmas_type": "sigma_min"})
    for prediction in ("sample", "v_prediction", "flow_prediction"):
        yield run(cls, {**SD, "prediction_type": prediction})
        if prediction != "flow_prediction":
            yield run(cls, {**SD, "prediction_type": prediction, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"})
    for kind in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas"):
        yield run(cls, {**SDXL, kind: True}, steps=10)
    yield run(cls, {"beta_schedule": "squaredcos_cap_v2", "use_karras_sigmas": True, "lambda_min_clipped": -5.1}, steps=6)
    yield run(cls, {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}, steps=6)
    yield run(cls, {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1, "timestep_spacing": "trailing"}, steps=6)
    yield run(cls, {**SDXL, "use_karras_sigmas": True, "sigma_min": 0.05, "sigma_max": 10.0}, steps=6)
    yield run(cls, {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"})
    yield run(cls, {"use_flow_sigmas": True, "use_dynamic_shifting": True, "prediction_type": "flow_prediction"}, mu=0.8)
    yield run(cls, {**SD, "thresholding": True, "sample_max_value": 1.4, "dynamic_thresholding_ratio": 0.93})
    yield run(cls, {**SD, "thresholding": True, "sample_max_value": 1.4, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"})
    yield run(cls, {**SD, "prediction_type": "v_prediction", "timestep_spacing": "trailing", "rescale_betas_zero_snr": True})
    yield run(cls, SDXL, steps=None, timesteps=[999, 850, 736, 645, 545, 455, 343, 233, 124, 24])
    yield run(cls, {**SD, "solver_order": 3}, begin=2, steps=16)
    yield run(cls, {**SDXL, "algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}, seeds=(8, 9))
    yield run(cls, {**SD, "solver_type": "bh2"})


def unipc():
    cls = "UniPCMultistepScheduler"
    yield run(cls, {})
    yield run(cls, SDXL, steps=20)
    yield from beta_schedules(cls)
    yield from spacings(cls, SD)
    for order in (1, 2, 3, 4):
        for solver in ("bh1", "bh2"):
            yield run(cls, {**SD, "solver_order": order, "solver_type": solver, "final_sigmas_type": "sigma_min"}, steps=9)
    yield run(cls, {**SD, "solver_order": 3}, steps=10)
    yield run(cls, {**SD, "solver_order": 3, "predict_x0": False, "final_sigmas_type": "sigma_min"}, steps=9)
    for prediction in ("sample", "v_prediction", "flow_prediction"):
        yield run(cls, {**SD, "prediction_type": prediction})
        if prediction != "flow_prediction":
            yield run(cls, {**SD, "prediction_type": prediction, "predict_x0": False, "final_sigmas_type": "sigma_min"})
    yield run(cls, {**SD, "disable_corrector": [0, 3]})
    yield run(cls, {**SD, "lower_order_final": False, "final_sigmas_type": "sigma_min"})
    for kind in ("karras", "exponential", "beta"):
        yield run(cls, {**SDXL, f"use_{kind}_sigmas": True}, steps=10)
        yield run(cls, {**SDXL, f"use_{kind}_sigmas": True, "sigma_min": 0.05, "sigma_max": 10.0, "final_sigmas_type": "sigma_min"}, steps=6)
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    yield run(cls, {**flow, "flow_shift": 5.0})
    yield run(cls, {**flow, "shift_terminal": 0.1, "final_sigmas_type": "sigma_min"})
    yield run(cls, {**flow, "use_dynamic_shifting": True}, mu=0.9)
    yield run(cls, {**flow, "use_dynamic_shifting": True, "time_shift_type": "linear"}, mu=1.4)
    yield run(cls, {**flow, "use_karras_sigmas": True, "sigma_min": 0.02, "sigma_max": 80.0})
    yield run(cls, {**flow, "flow_shift": 2.0}, steps=None, sigmas=[1.0, 0.8, 0.55, 0.3, 0.1])
    yield run(cls, {**SD, "thresholding": True, "sample_max_value": 1.4, "dynamic_thresholding_ratio": 0.93})
    yield run(cls, {**SD, "prediction_type": "v_prediction", "timestep_spacing": "trailing", "rescale_betas_zero_snr": True})
    yield run(cls, {**SD, "solver_order": 3}, begin=2, steps=12)
    yield run(cls, {**SD, "solver_type": "midpoint"})


def pndm():
    cls = "PNDMScheduler"
    yield run(cls, {})
    yield run(cls, {**SDXL, "skip_prk_steps": True, "set_alpha_to_one": False}, steps=20)
    yield from beta_schedules(cls, skip_prk_steps=True)
    for skip in (False, True):
        yield from spacings(cls, {**SD, "skip_prk_steps": skip})
        yield run(cls, {**SDXL, "skip_prk_steps": skip, "prediction_type": "v_prediction", "set_alpha_to_one": True}, steps=10)
        yield run(cls, {**SDXL, "skip_prk_steps": skip}, steps=4)
    yield run(cls, {**SDXL, "skip_prk_steps": True}, steps=1)
    yield run(cls, {**SDXL, "skip_prk_steps": True}, steps=2)
    yield run(cls, {**SDXL, "skip_prk_steps": True}, begin=3)


def heun():
    cls = "HeunDiscreteScheduler"
    yield run(cls, {})
    yield run(cls, SDXL, steps=15)
    yield from beta_schedules(cls, extra=("exp",))
    yield from spacings(cls, SD)
    for prediction in ("v_prediction", "sample"):
        yield run(cls, {**SDXL, "prediction_type": prediction})
    for kind in ("karras", "exponential", "beta"):
        yield run(cls, {**SDXL, f"use_{kind}_sigmas": True})
    yield run(cls, {**SDXL, "use_karras_sigmas": True, "sigma_min": 0.03, "sigma_max": 12.0})
    yield run(cls, {**SDXL, "clip_sample": True, "clip_sample_range": 0.8})
    yield run(cls, SDXL, steps=None, timesteps=[999, 730, 443, 193, 53])
    yield run(cls, SDXL, begin=4)
    yield run(cls, SDXL, steps=1)


def lcm():
    cls = "LCMScheduler"
    yield run(cls, {})
    for n in (1, 2, 4):
        yield run(cls, SDXL, steps=n)
    yield from beta_schedules(cls, original_inference_steps=10)
    for prediction in ("sample", "v_prediction"):
        yield run(cls, {**SD, "prediction_type": prediction}, steps=4)
    yield run(cls, {**SD, "clip_sample": True, "clip_sample_range": 0.7, "timestep_scaling": 3.0}, steps=4)
    yield run(cls, {**SD, "thresholding": True, "sample_max_value": 1.5, "dynamic_thresholding_ratio": 0.9}, steps=4)
    yield run(cls, {**SD, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}, steps=4)
    yield run(cls, {**SD, "original_inference_steps": 100}, steps=6, seeds=(21, 22))
    yield run(cls, SD, steps=4, original_inference_steps=30)
    yield run(cls, SD, steps=4, strength=0.6)
    yield run(cls, SD, steps=None, timesteps=[999, 759, 499, 259])


def flow_match_euler():
    cls = "FlowMatchEulerDiscreteScheduler"
    yield run(cls, {})
    yield run(cls, {"shift": 3.0})
    yield run(cls, {"shift": 1.73}, steps=5)
    dynamic = {"shift": 3.0, "use_dynamic_shifting": True}
    yield run(cls, dynamic, mu=1.15)
    yield run(cls, {**dynamic, "time_shift_type": "linear"}, mu=0.63)
    yield run(cls, dynamic, steps=4, mu=1.15, sigmas=[1.0, 0.75, 0.5, 0.25])
    yield run(cls, {**dynamic, "shift_terminal": 0.1}, mu=0.9)
    yield run(cls, {"shift_terminal": 0.02, "shift": 2.0}, steps=None, sigmas=[0.95, 0.7, 0.45, 0.2])
    for kind in ("karras", "exponential", "beta"):
        yield run(cls, {"shift": 3.0, f"use_{kind}_sigmas": True})
    yield run(cls, {"use_karras_sigmas": True, "sigma_min": 0.01, "sigma_max": 0.9})
    yield run(cls, {"invert_sigmas": True})
    yield run(cls, {"shift": 3.0, "stochastic_sampling": True}, seeds=(31, 32))
    yield run(cls, {"shift": 3.0}, steps=None, timesteps=[1000.0, 800.0, 500.0, 250.5, 100.0])
    yield run(cls, {"shift": 3.0}, steps=None, timesteps=[900.0, 600.0, 300.0], sigmas=[0.9, 0.55, 0.3])
    yield run(cls, {"shift": 3.0}, begin=3)


def dpmsolver_singlestep():
    cls = "DPMSolverSinglestepScheduler"
    yield run(cls, {})
    yield from beta_schedules(cls)
    for algorithm in ("dpmsolver++", "sde-dpmsolver++", "dpmsolver"):
        for order in (1, 2, 3):
            for solver in ("midpoint", "heun"):
                if order == 1 and solver == "heun":
                    continue
                final = {"final_sigmas_type": "sigma_min"}
                yield run(cls, {**SD, "algorithm_type": algorithm, "solver_order": order, "solver_type": solver, **final}, steps=6)
    for order, steps in ((2, 7), (2, 8), (3, 7), (3, 8), (3, 9), (3, 1)):
        yield run(cls, {**SD, "solver_order": order, "lower_order_final": True}, steps=steps)
    yield run(cls, {**SD, "solver_order": 3, "lower_order_final": True, "final_sigmas_type": "sigma_min"})
    for prediction in ("sample", "v_prediction", "flow_prediction"):
        yield run(cls, {**SD, "prediction_type": prediction})
        if prediction != "flow_prediction":
            yield run(cls, {**SD, "prediction_type": prediction, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"})
    for kind in ("karras", "exponential", "beta"):
        yield run(cls, {**SD, f"use_{kind}_sigmas": True})
    yield run(cls, {**SD, "use_karras_sigmas": True, "sigma_min": 0.05, "sigma_max": 10.0}, steps=6)
    yield run(cls, {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}, steps=6)
    yield run(cls, {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"})
    yield run(cls, {"use_flow_sigmas": True, "use_dynamic_shifting": True, "prediction_type": "flow_prediction"}, mu=0.8)
    yield run(cls, {**SD, "thresholding": True, "sample_max_value": 1.4, "dynamic_thresholding_ratio": 0.93})
    yield run(cls, SD, steps=None, timesteps=[999, 850, 645, 455, 233, 24])
    yield run(cls, {**SD, "solver_order": 3}, begin=2, steps=9)


def dpmsolver_sde():
    cls = "DPMSolverSDEScheduler"
    seed = {"noise_sampler_seed": 7}
    yield run(cls, seed)
    yield run(cls, {**SDXL, "noise_sampler_seed": 2**40 + 11})
    yield run(cls, SDXL, seeds=(17,))  # its seed drawn
    yield from beta_schedules(cls, **seed)
    yield from spacings(cls, {**SD, **seed})
    yield run(cls, {**SDXL, **seed, "prediction_type": "v_prediction"})
    for kind in ("karras", "exponential", "beta"):
        yield run(cls, {**SDXL, **seed, f"use_{kind}_sigmas": True, "sigma_min": 0.05, "sigma_max": 10.0}, steps=6)
    yield run(cls, {**SDXL, **seed}, step={"s_noise": 0.9})
    yield run(cls, {**SDXL, **seed}, begin=4)
    yield run(cls, {**SDXL, **seed}, steps=1)


def deis():
    cls = "DEISMultistepScheduler"
    yield run(cls, {})
    yield run(cls, SDXL, steps=20)
    yield from beta_schedules(cls)
    yield from spacings(cls, SD)
    for order in (1, 2, 3):
        yield run(cls, {**SD, "solver_order": order}, steps=16)
    yield run(cls, {**SD, "solver_order": 3}, steps=9)
    yield run(cls, {**SD, "solver_order": 3, "lower_order_final": False})
    for prediction in ("sample", "v_prediction", "flow_prediction"):
        yield run(cls, {**SD, "prediction_type": prediction})
    for kind in ("karras", "exponential", "beta"):
        yield run(cls, {**SDXL, f"use_{kind}_sigmas": True})
    yield run(cls, {**SDXL, "use_karras_sigmas": True, "sigma_min": 0.05, "sigma_max": 10.0}, steps=6)
    yield run(cls, {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"})
    yield run(cls, {"use_flow_sigmas": True, "use_dynamic_shifting": True, "prediction_type": "flow_prediction"}, mu=0.8)
    yield run(cls, {**SD, "thresholding": True, "sample_max_value": 1.4, "dynamic_thresholding_ratio": 0.93})
    yield run(cls, {**SD, "solver_order": 3}, begin=2, steps=9)
    yield run(cls, {**SD, "solver_type": "bh2", "algorithm_type": "dpmsolver++"})


def lms():
    cls = "LMSDiscreteScheduler"
    yield run(cls, {})
    yield run(cls, SDXL, steps=20)
    yield from beta_schedules(cls)
    yield from spacings(cls, SD)
    for prediction in ("sample", "v_prediction"):
        yield run(cls, {**SDXL, "prediction_type": prediction})
    for kind in ("karras", "exponential", "beta"):
        yield run(cls, {**SDXL, f"use_{kind}_sigmas": True, "sigma_min": 0.05, "sigma_max": 10.0})
    yield run(cls, SDXL, begin=3)
    yield run(cls, SDXL, steps=1)


def kdpm2():
    for cls in ("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler"):
        yield run(cls, {})
        ancestral = "Ancestral" in cls
        yield run(cls, SDXL, steps=12, seeds=(11, 12) if ancestral else (5,))
        # The variance that an ancestral step from so large a sigma leaves is below zero, by rounding.
        yield from beta_schedules(cls, without=("squaredcos_cap_v2",) if ancestral else ())
        yield from spacings(cls, SD)
        yield run(cls, {**SDXL, "prediction_type": "v_prediction"})
        for kind in ("karras", "exponential", "beta"):
            yield run(cls, {**SDXL, f"use_{kind}_sigmas": True})
        yield run(cls, {**SDXL, "use_karras_sigmas": True, "sigma_min": 0.03, "sigma_max": 12.0}, steps=5)
        yield run(cls, SDXL, begin=4)
        if not ancestral:  # which divides by zero in the end
            yield run(cls, SDXL, begin=3)
        yield run(cls, SDXL, steps=1)


def sasolver():
    cls = "SASolverScheduler"
    yield run(cls, {})
    yield run(cls, SDXL, steps=20, seeds=(8, 9))
    yield from beta_schedules(cls)
    yield from spacings(cls, SD)
    for algorithm in ("data_prediction", "noise_prediction"):
        for predictor, corrector in ((1, 1), (1, 2), (2, 1), (3, 2), (2, 4), (4, 3)):
            config = {**SD, "algorithm_type": algorithm, "predictor_order": predictor, "corrector_order": corrector}
            yield run(cls, config, steps=9)
    yield run(cls, {**SD, "predictor_order": 3, "corrector_order": 3, "lower_order_final": False})
    for prediction in ("sample", "v_prediction", "flow_prediction"):
        yield run(cls, {**SD, "prediction_type": prediction})
        if prediction != "flow_prediction":
            yield run(cls, {**SD, "prediction_type": prediction, "algorithm_type": "noise_prediction"})
    for kind in ("karras", "exponential", "beta"):
        yield run(cls, {**SDXL, f"use_{kind}_sigmas": True})
    yield run(cls, {**SDXL, "use_karras_sigmas": True, "sigma_min": 0.05, "sigma_max": 10.0}, steps=6)
    yield run(cls, {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"})
    yield run(cls, {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}, steps=6)
    yield run(cls, {**SD, "thresholding": True, "sample_max_value": 1.4, "dynamic_thresholding_ratio": 0.93})
    yield run(cls, SD, begin=2)


def tcd():
    cls = "TCDScheduler"
    yield run(cls, {})
    for n in (1, 2, 4, 8):
        yield run(cls, SDXL, steps=n)
    yield from beta_schedules(cls, original_inference_steps=10)
    for eta in (0.0, 0.3, 0.85, 1.0):
        for prediction in ("epsilon", "sample", "v_prediction"):
            yield run(cls, {**SD, "prediction_type": prediction}, steps=4, step={"eta": eta})
    yield run(cls, {**SD, "clip_sample": True, "thresholding": True, "timestep_scaling": 3.0, "set_alpha_to_one": False}, steps=4)
    yield run(cls, {**SD, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}, steps=4)
    yield run(cls, {**SD, "original_inference_steps": 100}, steps=6, seeds=(21, 22))
    yield run(cls, SD, steps=4, original_inference_steps=30)
    yield run(cls, SD, steps=4, strength=0.6)
    yield run(cls, SD, steps=None, timesteps=[800])  # Hyper's one step
    yield run(cls, SD, steps=None, timesteps=[999, 759, 499, 259], strength=0.8)
    yield run(cls, SD, steps=4, begin=1)


def edm():
    for cls in ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"):
        yield run(cls, {})
        yield run(cls, {"sigma_schedule": "exponential"})
        yield run(cls, {"sigma_min": 0.01, "sigma_max": 20.0, "sigma_data": 0.7, "rho": 5.0, "num_train_timesteps": 500}, steps=5)
        yield run(cls, {"final_sigmas_type": "sigma_min"}, steps=5)
        yield run(cls, {"prediction_type": "v_prediction"})
        yield run(cls, {}, begin=3)
        yield run(cls, {}, steps=1)
    yield run("EDMEulerScheduler", {}, step={"s_churn": 2.0, "s_tmin": 0.1, "s_tmax": 5.0, "s_noise": 1.01})
    yield run("EDMEulerScheduler", {}, steps=None, sigmas=[0.0, 0.1, 0.35, 0.7, 1.0])
    cls = "EDMDPMSolverMultistepScheduler"
    for order in (1, 2, 3):
        for solver in ("midpoint", "heun"):
            yield run(cls, {"solver_order": order, "solver_type": solver}, steps=16)
            if order < 3:
                yield run(cls, {"solver_order": order, "solver_type": solver, "algorithm_type": "sde-dpmsolver++"}, steps=6)
    yield run(cls, {"solver_order": 3, "lower_order_final": False, "euler_at_final": True, "final_sigmas_type": "sigma_min"})
    yield run(cls, {"solver_order": 3}, steps=9)
    yield run(cls, {"thresholding": True, "sample_max_value": 1.4, "dynamic_thresholding_ratio": 0.93})
    yield run(cls, {"solver_type": "bh2"})


def flow_match_others():
    cls = "FlowMatchHeunDiscreteScheduler"
    yield run(cls, {})
    yield run(cls, {"shift": 3.0, "num_train_timesteps": 500}, steps=5)
    yield run(cls, {"shift": 3.0}, step={"s_churn": 3.0, "s_tmin": 0.1, "s_tmax": 0.9, "s_noise": 1.01}, seeds=(31, 32))
    yield run(cls, {"shift": 3.0}, begin=4)
    yield run(cls, {}, steps=1)
    cls = "FlowMatchLCMScheduler"
    yield run(cls, {})
    yield run(cls, {"shift": 3.0, "num_train_timesteps": 500}, steps=4, seeds=(31, 32))
    yield run(cls, {"use_dynamic_shifting": True, "upscale_mode": "nearest"}, steps=4, mu=1.15)
    yield run(cls, {"use_dynamic_shifting": True, "time_shift_type": "linear"}, steps=4, mu=0.63)
    yield run(cls, {"shift": 3.0, "shift_terminal": 0.1}, steps=4)
    for kind in ("karras", "exponential", "beta"):
        yield run(cls, {"shift": 3.0, f"use_{kind}_sigmas": True, "sigma_min": 0.01, "sigma_max": 0.9}, steps=4)
    yield run(cls, {"invert_sigmas": True}, steps=4)
    yield run(cls, {"shift": 3.0}, steps=None, timesteps=[1000.0, 800.0, 500.0, 250.5])
    yield run(cls, {"shift": 3.0}, steps=None, sigmas=[0.95, 0.7, 0.45, 0.2])
    yield run(cls, {"shift": 3.0}, begin=3)


def cogvideox():
    for cls in ("CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"):
        config = {"snr_shift_scale": 1.0, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        yield run(cls, {})
        yield run(cls, config, seeds=(5,) if "DDIM" in cls else (11, 12))  # CogVideoX-5b's
        yield from beta_schedules(cls)
        yield from spacings(cls, {"set_alpha_to_one": False})
        yield run(cls, {"prediction_type": "sample", "snr_shift_scale": 2.0, "rescale_betas_zero_snr": True, "beta_schedule": "linear"})
        yield run(cls, {"clip_sample": True, "clip_sample_range": 0.5, "sample_max_value": 0.5}, begin=3)
        yield run(cls, {}, steps=1)


def shared_configs():
    """from_config with another class's config."""
    full = {"_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", **SD, "num_train_timesteps": 1000, "set_alpha_to_one": False,
            "skip_prk_steps": True, "steps_offset": 1, "trained_betas": None, "clip_sample": False}
    for name in ("EulerDiscrete", "DDIM", "DPMSolverMultistep", "UniPCMultistep", "HeunDiscrete", "LCM", "DPMSolverSinglestep", "DEISMultistep", "LMSDiscrete",
                 "KDPM2Discrete", "KDPM2AncestralDiscrete", "SASolver", "TCD"):
        yield run(f"{name}Scheduler", full, steps=5)
    yield run("UniPCMultistepScheduler", {**SDXL, "solver_type": "bh1", "_use_default_values": ["timestep_spacing", "solver_type"]}, steps=5)


def main():
    makers = (euler, euler_ancestral, ddim, ddpm, dpmsolver, unipc, pndm, heun, lcm, flow_match_euler, dpmsolver_singlestep, dpmsolver_sde, deis, lms, kdpm2,
              sasolver, tcd, edm, flow_match_others, cogvideox, shared_configs)
    cases = [case for maker in makers for case in maker()]
    # Eight digits tell neighbouring float32 values apart well enough for a tolerance of a few units in the last place.
    short = lambda x: int(x) if x == int(x) else float(f"{x:.8g}")
    for case in cases:
        for key in ("timesteps", "sigmas", "sample"):
            if key in case:
                case[key] = [short(v) for v in case[key]]
        case["peak"] = float(f"{case['peak']:.3g}")
    with open(OUT, "w") as f:
        f.write('{"shape": %s, "kept": %s, "cases": [\n' % (json.dumps(SHAPE), json.dumps(KEPT)))
        f.write(",\n".join(json.dumps(case, separators=(",", ":")) for case in cases))
        f.write("\n]}\n")
    print(len(cases), "cases,", os.path.getsize(OUT), "bytes")


if __name__ == "__main__":
    main()
