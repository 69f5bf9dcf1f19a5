#!/usr/bin/env bash
# Everything that a GPU can say about the CUDA backend, in at most 8 minutes, without a network, most valuable first, so that a run that is cut short still
# says most. Writes docs/measurements/<gpu>-<date>.md.
#
#   tools/gpu_check.sh [BUILD]          BUILD: a Release build with tests; "build" by default; made when it is not there and a compiler is. A build of
#                                       another machine can be carried along (the same paths, VIVACE_CUDA=ON where it was made)
#   PYTHON=venv/bin/python tools/gpu_check.sh       beside PyTorch eager and torch.compile, where this Python has torch and diffusers
#   MODEL=DIR                           full-size SDXL; of random weights otherwise, made in a temporary folder (7 GB)
#   ONLY="ops pictures sdxl"            some parts: machine ops pictures sdxl torch sanitizer profile
#
# Speed is claimed from such a report alone.
set -u
cd "$(dirname "$0")/.."
build=${1:-build} python=${PYTHON:-python3}
only=${ONLY:-machine ops pictures sdxl torch sanitizer profile}
limit=${SECONDS_LIMIT:-470} begin=$SECONDS
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

left() { echo $((limit - (SECONDS - begin))); }
wanted() { [[ " $only " == *" $1 "* ]] && (($(left) > 10)); }
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1)
[[ -n $gpu ]] || { echo "no NVIDIA GPU here: nvidia-smi names none" >&2; exit 1; }
mkdir -p docs/measurements
report=docs/measurements/$(tr -cs 'A-Za-z0-9' - <<<"$gpu" | sed 's/-$//' | tr A-Z a-z)-$(date +%F).md
say() { tee -a "$report"; }
title() { printf '\n## %s\n\n' "$1" | say; }

if [[ ! -x $build/vivace ]]; then
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DVIVACE_CUDA=ON >"$work/cmake.log" 2>&1 &&
    timeout 240 cmake --build "$build" -j "$(nproc)" --target vivace_cli test_cuda_device >>"$work/cmake.log" 2>&1 ||
    { tail -5 "$work/cmake.log" >&2; exit 1; }
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
  } | say
fi

# tests NAME FILTER: a line a failure, and how many there were.
tests() {
  timeout "$(left)" "$build/tests/cuda/device/test_cuda_device" --gtest_filter="$2" >"$work/$1.log" 2>&1
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
  tests ops '*OnAGpu*'
fi
if wanted pictures; then
  title "Pictures against the CPU's"
  for m in emoji-xl emoji-flux; do
    for dtype in fp32 bf16; do
      for mode in off reduce-overhead; do
        line=$(timeout "$(left)" "$build/vivace" generate "a red apple" --model assets/$m --device cuda --dtype $dtype --compile $mode --seed 1 --json \
          --output "$work/$m-$dtype-$mode.png" 2>&1 | tail -1)
        printf -- '- %s %s, %s: %s\n' "$m" "$dtype" "$mode" "$(sed -E 's/.*("counters":\{[^}]*\}).*"steps":\[([^]]*)\].*/\1, steps \2/' <<<"$line" | cut -c1-400)" | say
      done
    done
  done
fi

model() {
  [[ -n ${MODEL:-} ]] && return
  MODEL=$work/sdxl
  "$build/vivace" make-random assets/configs/sdxl-base "$MODEL" --dtype bf16 >&2
}
# rung LABEL OPTIONS...: seconds of a call of 30 steps at 1024 x 1024 with guidance, the second of two in one process.
rung() {
  local label=$1
  shift
  (($(left) > 15)) || { printf '| %s | not reached in the time |\n' "$label" | say; return; }
  local json
  json=$(timeout "$(left)" "$build/vivace" bench-component unet --model "$MODEL" --device cuda --batch 2 --height 1024 --width 1024 --runs 5 --json "$@" 2>&1 | tail -1)
  printf '| %s | %s |\n' "$label" "$(sed -nE 's/.*"min":([0-9.e-]+).*"median":([0-9.e-]+).*/\1 s, median \2 s/p' <<<"$json" | grep . || cut -c1-300 <<<"$json")" | say
}
if wanted sdxl && model; then
  title "SDXL's UNet, batch 2 (guidance), 1024 x 1024: a step"
  printf '| rung | s |\n|---|---|\n' | say
  rung "bf16, compiled, graphs" --dtype bf16 --compile max-autotune --autotune-seconds 30
  rung "fp32, math attention" --dtype fp32 --sdpa math
  rung "tf32" --dtype fp32 --float32-matmul-precision high --sdpa math
  rung "bf16, math attention" --dtype bf16 --sdpa math
  rung "bf16, flash attention" --dtype bf16
  rung "bf16, compiled" --dtype bf16 --compile default
  rung "bf16, compiled, one graph" --dtype bf16 --compile reduce-overhead
  rung "bf16, int8 dynamic" --dtype bf16 --compile max-autotune --autotune-seconds 30 --quantize int8-dynamic
fi
if wanted torch && "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  title "PyTorch, the same UNet step"
  if "$python" -c 'import diffusers' 2>/dev/null && model; then
    timeout "$(left)" "$python" - "$MODEL" <<'P' 2>"$work/torch.log" | say
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
if wanted sanitizer && command -v compute-sanitizer >/dev/null; then
  title "compute-sanitizer"
  for tool in memcheck racecheck; do
    timeout "$(left)" compute-sanitizer --tool $tool "$build/tests/cuda/device/test_cuda_device" --gtest_filter='*OnAGpu*bfloat16' >"$work/$tool.log" 2>&1
    printf -- '- %s: %s\n' "$tool" "$(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$work/$tool.log" | tail -1 | sed 's/=//g' | grep . || echo 'cut short')" | say
  done
fi
if wanted profile && model; then
  title "Where a step's time goes (bf16, compiled)"
  { echo '```'; timeout "$(left)" "$build/vivace" profile --model "$MODEL" --component unet --device cuda --dtype bf16 --compile default --height 1024 --width 1024 --batch 2 --runs 2 2>&1 | head -60; echo '```'; } | say
fi
printf '\nTook %s s.\n' "$((SECONDS - begin))" | say
