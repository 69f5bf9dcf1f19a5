#!/usr/bin/env bash
# Everything that a GPU can say about the CUDA backend, in at most 8 minutes, without a network, most valuable first, so that a run that is cut short still
# says most. Writes docs/measurements/<gpu>-<date>.md, and beside it what cuDNN knows of the GPU (.cudnn.json), from which plans can be checked without one.
#
#   tools/gpu_check.sh [BUILD]          BUILD: a Release build with tests; "build" by default; made when it is not there and a compiler is. A build of
#                                       another machine can be carried along (the same paths, VIVACE_CUDA=ON where it was made)
#   PYTHON=venv/bin/python tools/gpu_check.sh       beside PyTorch eager and torch.compile, where this Python has torch and diffusers
#   MODEL=DIR                           full-size SDXL; a UNet of random weights otherwise, made in a temporary folder (5 GB)
#   SECONDS_LIMIT=470                   of everything, the build included
#   ONLY="ops pictures sdxl"            some parts: machine ops sdxl pictures flux memcheck racecheck torch profile
#
# Speed is claimed from such a report alone.
set -u
cd "$(dirname "$0")/.."
build=${1:-build} python=${PYTHON:-python3}
only=${ONLY:-machine ops sdxl pictures flux memcheck racecheck torch profile}
limit=${SECONDS_LIMIT:-470} begin=$SECONDS
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

left() { echo $((limit - (SECONDS - begin))); }
wanted() { [[ " $only " == *" $1 "* ]] && (($(left) > 10)); }
# within SECONDS COMMAND...: no longer than that, nor than there is left.
within() {
  local most=$1 rest
  shift
  rest=$(left)
  timeout --kill-after=5 $((most < rest ? most : rest > 1 ? rest : 1)) "$@"
}
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1)
[[ -n $gpu ]] || { echo "no NVIDIA GPU here: nvidia-smi names none" >&2; exit 1; }
mkdir -p docs/measurements
report=docs/measurements/$(tr -cs 'A-Za-z0-9' - <<<"$gpu" | sed 's/-$//' | tr A-Z a-z)-$(date +%F).md
say() { tee -a "$report"; }
title() { printf '\n## %s\n\n' "$1" | say; }

tests=$build/tests/cuda/device/test_cuda_device
if [[ ! -x $build/vivace || ! -x $tests ]]; then
  { cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DVIVACE_CUDA=ON &&
    within 300 cmake --build "$build" -j "$(nproc)" --target vivace_cli test_cuda_device; } >"$work/build.log" 2>&1 ||
    { tail -5 "$work/build.log" >&2; echo "the build failed, or took more than 300 s: build elsewhere and carry it along" >&2; exit 1; }
fi

: >"$report"
printf '# %s\n' "$gpu" | say
if wanted machine; then
  {
    printf '\n| | |\n|---|---|\n'
    printf '| driver | %s |\n' "$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -1)"
    printf '| memory | %s |\n' "$(nvidia-smi --query-gpu=memory.total --format=csv,noheader | head -1)"
    printf '| clocks, power | %s |\n' "$(nvidia-smi --query-gpu=clocks.max.sm,power.limit --format=csv,noheader | head -1)"
    printf '| processor | %s |\n' "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)"
    printf '| Vivace | %s, %s |\n' "$("$build/vivace" --version | head -1)" "$(git rev-parse --short HEAD 2>/dev/null || echo 'no git')"
    printf '| what cuDNN knows of it | %s |\n' "$(within 20 "$python" tools/cudnn_device_properties.py "${report%.md}.cudnn.json" 2>&1 | tail -1)"
  } | say
fi

# run_tests NAME SECONDS FILTER: a line a failure, and how many there were.
run_tests() {
  within "$2" "$tests" --gtest_filter="$3" >"$work/$1.log" 2>&1
  local status=$?
  {
    printf '%s: ' "$1"
    grep -E '^\[  (PASSED|FAILED|SKIPPED) *\] [0-9]+ test' "$work/$1.log" | tr '\n' ' '
    ((status == 124)) && printf '(cut short)'
    printf '\n\n'
    grep -E '^[^ ]+, element|Failure$|^\[  FAILED  \] [A-Za-z]' "$work/$1.log" | sort -u | head -40 | sed 's/^/    /'
  } | say
}
if wanted ops; then
  title "Every kernel against the op's own meaning"
  run_tests ops 120 '*OnAGpu*'
fi

# random_model CONFIGS PART FOLDER: a checkpoint of which that part alone has weights, which is all that bench-component reads.
random_model() {
  mkdir -p "$3.configs" "$3" && cp "$1/model_index.json" "$3.configs" && cp -r "$1/$2" "$3.configs" &&
    within 120 "$build/vivace" make-random "$3.configs" "$3" --dtype bf16 --quiet >&2 && cp -rn "$1/." "$3"
}
model() {
  [[ -n ${MODEL:-} ]] && return
  random_model assets/configs/sdxl-base unet "$work/sdxl" && MODEL=$work/sdxl
}
# rung LABEL COMPONENT OPTIONS...: seconds of one call, best and median.
rung() {
  local label=$1 json
  shift
  (($(left) > 15)) || { printf '| %s | not reached in the time |\n' "$label" | say; return; }
  json=$(within 90 "$build/vivace" bench-component "$@" --device cuda --height 1024 --width 1024 --runs 5 --json 2>&1 | tail -1)
  printf '| %s | %s |\n' "$label" "$(sed -nE 's/.*"median":([0-9.e-]+).*"min":([0-9.e-]+).*/\2 s, median \1 s/p' <<<"$json" | grep . || cut -c1-300 <<<"$json")" | say
}
ladder_head() { printf '| rung | a call |\n|---|---|\n' | say; }
if wanted sdxl; then
  title "SDXL's UNet, batch 2 (guidance), 1024 x 1024: a step"
  if model; then
    ladder_head
    of=(unet --batch 2 --model "$MODEL")
    fast=(--compile max-autotune --autotune-seconds 20 --fuse-qkv)
    rung "bf16, everything" "${of[@]}" --dtype bf16 "${fast[@]}"
    rung "fp32, math attention" "${of[@]}" --dtype fp32 --sdpa math
    rung "bf16, int8 dynamic" "${of[@]}" --dtype bf16 "${fast[@]}" --quantize int8-dynamic --quantize-filter all
    rung "bf16, float8 dynamic" "${of[@]}" --dtype bf16 "${fast[@]}" --quantize float8-dynamic
    rung "tf32, math attention" "${of[@]}" --dtype fp32 --float32-matmul-precision high --sdpa math
    rung "bf16, math attention" "${of[@]}" --dtype bf16 --sdpa math
    rung "bf16, SDPA" "${of[@]}" --dtype bf16
    rung "bf16, compiled" "${of[@]}" --dtype bf16 --compile default --disable-pass fuse_projections
    rung "bf16, compiled, one graph" "${of[@]}" --dtype bf16 --compile reduce-overhead --disable-pass fuse_projections
    rung "bf16, compiled, one graph, fused QKV" "${of[@]}" --dtype bf16 --compile reduce-overhead --fuse-qkv
    rung "bf16, float8 weights" "${of[@]}" --dtype bf16 --compile reduce-overhead --fuse-qkv --quantize float8-weight-only
  else
    printf 'The model could not be made (5 GB in %s).\n' "$work" | say
  fi
fi
# picture NAME MODEL OPTIONS...: $work/NAME.npy, and what the program says of it.
picture() {
  within 40 "$build/vivace" generate "a red apple" --model "assets/$2" --seed 1 --num-inference-steps 8 --json --output "$work/$1.npy" "${@:3}" >"$work/$1.json" 2>&1
}
if wanted pictures; then
  title "Pictures against the CPU's in fp32"
  printf '| | PSNR, dB | waits in the loop | median step, ms |\n|---|---|---|---|\n' | say
  for m in emoji-xl emoji-flux; do
    picture "$m" $m --device cpu --dtype fp32 --compile default
    for options in "fp32 off" "fp32 reduce-overhead" "bf16 off" "bf16 reduce-overhead" "bf16 reduce-overhead --quantize int8-dynamic --quantize-filter all" \
      "bf16 reduce-overhead --quantize float8-dynamic"; do
      read -r dtype mode more <<<"$options"
      picture "$m-gpu" $m --device cuda --dtype "$dtype" --compile "$mode" $more
      "$python" - "$m, $options" "$work/$m.npy" "$work/$m-gpu" <<'P' 2>&1 | tail -1 | say
import array, json, math, statistics, sys
def pixels(path):
    data = open(path, "rb").read()
    return array.array("f", data[10 + int.from_bytes(data[8:10], "little"):])
label, want, got = sys.argv[1:]
try:
    said = json.load(open(got + ".json"))
    a, b = pixels(want), pixels(got + ".npy")
    error = sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / len(a)
    psnr = "equal" if error == 0 else f"{-10 * math.log10(error):.1f}"
    print(f"| {label} | {psnr} | {said['counters']['loop_host_device_syncs']} | {1e3 * statistics.median(said['seconds']['steps'][1:]):.2f} |")
except (OSError, ValueError, KeyError):
    lines = open(got + ".json").read().strip().splitlines() or ["nothing was said"]
    print(f"| {label} | {lines[-1][:200]} | | |")
P
      rm -f "$work/$m-gpu.npy"
    done
  done
fi
if wanted flux; then
  title "FLUX.1 at full width, 2 double and 4 single blocks of 19 and 38, 1024 x 1024: a step"
  slice=$work/flux-slice-configs
  cp -r assets/configs/flux-dev "$slice" && sed -i 's/"num_layers": 19/"num_layers": 2/; s/"num_single_layers": 38/"num_single_layers": 4/' "$slice/transformer/config.json"
  if random_model "$slice" transformer "$work/flux"; then
    ladder_head
    of=(transformer --batch 1 --model "$work/flux")
    rung "bf16, everything" "${of[@]}" --dtype bf16 --compile max-autotune --autotune-seconds 15
    rung "bf16, int8 dynamic" "${of[@]}" --dtype bf16 --compile max-autotune --autotune-seconds 15 --quantize int8-dynamic --quantize-filter all
    rung "bf16, float8 dynamic" "${of[@]}" --dtype bf16 --compile max-autotune --autotune-seconds 15 --quantize float8-dynamic
    rung "bf16, eager" "${of[@]}" --dtype bf16
  else
    printf 'The model could not be made (3 GB in %s).\n' "$work" | say
  fi
fi
for tool in memcheck racecheck; do
  wanted $tool || continue
  title "compute-sanitizer, $tool"
  if command -v compute-sanitizer >/dev/null; then
    within 60 compute-sanitizer --tool $tool "$tests" --gtest_filter='*OnAGpu*bfloat16' >"$work/$tool.log" 2>&1
    grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$work/$tool.log" | tail -1 | sed 's/=//g' | grep . | say || echo 'cut short' | say
  else
    echo 'compute-sanitizer is not there (a part of the CUDA toolkit)' | say
  fi
done
if wanted torch && "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  title "PyTorch, the same UNet step"
  if "$python" -c 'import diffusers' 2>/dev/null && model; then
    within 100 "$python" - "$MODEL" <<'P' 2>"$work/torch.log" | say
import sys, time, torch
from diffusers import UNet2DConditionModel
unet = UNet2DConditionModel.from_pretrained(sys.argv[1], subfolder="unet", torch_dtype=torch.bfloat16).to("cuda").to(memory_format=torch.channels_last)
args = (torch.randn(2, 4, 128, 128, device="cuda", dtype=torch.bfloat16), 500, torch.randn(2, 77, 2048, device="cuda", dtype=torch.bfloat16))
added = {"text_embeds": torch.randn(2, 1280, device="cuda", dtype=torch.bfloat16), "time_ids": torch.tensor([[1024, 1024, 0, 0, 1024, 1024]] * 2, device="cuda", dtype=torch.bfloat16)}
@torch.inference_mode()
def seconds(f, runs=5):
    best = 1e9
    for _ in range(runs + 2):
        torch.cuda.synchronize(); t = time.perf_counter(); f(*args, added_cond_kwargs=added); torch.cuda.synchronize(); best = min(best, time.perf_counter() - t)
    return best
print(f"- eager, bf16: {seconds(unet):.4f} s", flush=True)
print(f"- torch.compile max-autotune, bf16: {seconds(torch.compile(unet, mode='max-autotune', fullgraph=True)):.4f} s", flush=True)
P
  else
    printf 'diffusers is missing in %s\n' "$python" | say
  fi
fi
if wanted profile && model; then
  title "Where a step's time goes (bf16, compiled)"
  { echo '```'; within 60 "$build/vivace" profile --model "$MODEL" --component unet --device cuda --dtype bf16 --compile default --height 1024 --width 1024 --batch 2 --runs 2 2>&1 | head -60; echo '```'; } | say
fi
printf '\nTook %s s.\n' "$((SECONDS - begin))" | say
