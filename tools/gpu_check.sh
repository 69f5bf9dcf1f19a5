#!/usr/bin/env bash
# Everything that a GPU can say about the CUDA backend, in at most 8 minutes, without a network, most valuable first, so that a run that is cut short still
# says most. Writes docs/measurements/<gpu>-<date>.md, and beside it what cuDNN knows of the GPU (.cudnn.json), from which plans can be checked without one.
#
#   tools/gpu_check.sh [BUILD]          BUILD: a Release build with tests; "build" by default; made when it is not there and a compiler is
#   tools/gpu_check.sh pack [BUILD]     where there is a build: puts what a run needs of it, with the libraries that it is linked to, into
#                                       BUILD/gpu-check.tar.xz. A machine that has this file, at the same path, needs no build and no packages
#   PYTHON=venv/bin/python tools/gpu_check.sh       beside PyTorch eager and torch.compile, where this Python has torch and diffusers
#   OUT=DIR                             for the report, instead of docs/measurements
#   MODEL=DIR                           full-size SDXL; a UNet of random weights otherwise, made in a temporary folder (5 GB)
#   SECONDS_LIMIT=470                   of everything, the build included
#   ONLY="ops pictures sdxl"            some parts: machine ops sdxl pictures profile flux ladder memcheck racecheck torch
#
# NVIDIA's libraries that came with Python's packages (nvidia-cublas, nvidia-cudnn-cu13, ..) are found. Speed is claimed from such a report alone.
set -u
cd "$(dirname "$0")/.."
parts="machine ops sdxl pictures profile flux ladder memcheck racecheck torch"
mode=check
[[ ${1:-} == pack ]] && { mode=pack; shift; }
build=${1:-build} python=${PYTHON:-python3} only=${ONLY:-$parts}
limit=${SECONDS_LIMIT:-470} begin=$SECONDS
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
vivace=$build/vivace tests=$build/tests/cuda/device/test_cuda_device archive=$build/gpu-check.tar.xz

if [[ $mode == pack ]]; then
  mkdir "$work/carried" "$work/carried/lib" && strip -o "$work/carried/vivace" "$vivace" && strip -o "$work/carried/test_cuda_device" "$tests" || exit 1
  # All but the C library and the compiler's, which every machine has, and newer ones run too.
  ldd "$vivace" "$tests" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u | grep -vE '/(libc|libm|libstdc\+\+|libgcc_s|libpthread|libdl)\.so' |
    xargs -I{} cp -L {} "$work/carried/lib"
  strip --strip-unneeded "$work"/carried/lib/*
  tar -C "$work" -cf - carried | xz -T0 -9e >"$archive" && ls -l "$archive"
  exit
fi

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
reports=${OUT:-docs/measurements}
mkdir -p "$reports"
report=$reports/$(tr -cs 'A-Za-z0-9' - <<<"$gpu" | sed 's/-$//' | tr A-Z a-z)-$(date +%F).md
say() { tee -a "$report"; }
title() { printf '\n## %s\n\n' "$1" | say; }

# Where NVIDIA's libraries came with PyTorch: behind those of the system.
folders=$("$python" -c 'import glob, nvidia; print(*[f for p in nvidia.__path__ for f in sorted(glob.glob(p + "/*/lib"))], sep=":")' 2>/dev/null)
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/usr/local/cuda/lib64${folders:+:$folders}
if [[ -f $archive && ! -x $vivace ]]; then
  tar -C "$work" -xJf "$archive" || exit 1
  vivace=$work/carried/vivace tests=$work/carried/test_cuda_device
  LD_LIBRARY_PATH=$work/carried/lib:$LD_LIBRARY_PATH
elif [[ ! -x $vivace || ! -x $tests ]]; then
  { cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DVIVACE_CUDA=ON &&
    within 300 cmake --build "$build" -j "$(nproc)" --target vivace_cli test_cuda_device; } >"$work/build.log" 2>&1 ||
    { tail -5 "$work/build.log" >&2; echo "the build failed, or took more than 300 s: pack one elsewhere and carry it along" >&2; exit 1; }
fi
"$vivace" --version >/dev/null || exit 1

# random_model CONFIGS PART FOLDER: a checkpoint of which that part alone has weights, which is all that bench-component reads.
random_model() {
  mkdir -p "$3.configs" "$3" && cp "$1/model_index.json" "$3.configs" && cp -r "$1/$2" "$3.configs" &&
    within 120 "$vivace" make-random "$3.configs" "$3" --dtype bf16 --tokenizers assets/emoji-xl --quiet >&2 && cp -rn "$1/." "$3"
}
# It takes one core half a minute, beside the first tests.
making=
if [[ -z ${MODEL:-} && " $only " =~ \ (sdxl|ladder|profile|torch)\  ]]; then
  random_model assets/configs/sdxl-base unet "$work/sdxl" >"$work/sdxl.log" 2>&1 &
  making=$!
fi
model() {
  [[ -n ${MODEL:-} ]] && return
  [[ -n $making ]] && wait "$making" && MODEL=$work/sdxl
}
no_model() { printf 'The model could not be made (5 GB in %s): %s\n' "$work" "$(tail -1 "$work/sdxl.log" 2>/dev/null)" | say; }

: >"$report"
printf '# %s\n' "$gpu" | say
if wanted machine; then
  {
    printf '\n| | |\n|---|---|\n'
    printf '| driver | %s |\n' "$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -1)"
    printf '| memory | %s |\n' "$(nvidia-smi --query-gpu=memory.total --format=csv,noheader | head -1)"
    printf '| clocks, power | %s |\n' "$(nvidia-smi --query-gpu=clocks.max.sm,power.limit --format=csv,noheader | head -1)"
    printf '| processor | %s |\n' "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)"
    printf '| Vivace | %s, %s |\n' "$("$vivace" --version | head -1)" "$(git rev-parse --short HEAD 2>/dev/null || echo 'no git')"
    printf '| what cuDNN knows of it | %s |\n' "$(within 20 "$python" tools/cudnn_device_properties.py "${report%.md}.cudnn.json" 2>&1 | tail -1)"
  } | say
fi

# in_shards NAME SECONDS FILTER COMMAND...: several processes take their shares of the tests, since most of the time is NVRTC's. $worst: their status.
shards=$(($(nproc) < 8 ? $(nproc) : 8))
in_shards() {
  local name=$1 seconds=$2 filter=$3 status pids=() i
  shift 3
  for ((i = 0; i < shards; ++i)); do
    GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$i within "$seconds" "$@" "$tests" --gtest_filter="$filter" >"$work/$name.$i.log" 2>&1 &
    pids+=($!)
  done
  worst=0
  for i in "${pids[@]}"; do
    wait "$i"
    status=$?
    ((status > worst)) && worst=$status
  done
}
# run_tests NAME SECONDS FILTER: how many passed, failed, were skipped, for what reason most of these, and a line a failure.
run_tests() {
  in_shards "$@"
  {
    printf '%s: ' "$1"
    grep -hE '^\[  (PASSED|FAILED|SKIPPED) *\] [0-9]+ test' "$work/$1".*.log | awk '{ n[$2] += $4 } END { for (k in n) printf "%d %s ", n[k], tolower(k) }'
    ((worst == 124 || worst == 137)) && printf '(cut short)'
    ((worst > 127 && worst != 137)) && printf '(a process ended with status %s)' "$worst"
    printf '\n\n'
    grep -hA1 -E ': Skipped$' "$work/$1".*.log | grep -vE ': Skipped$|^--$' | sort | uniq -c | sort -rn | head -1 | sed 's/^/    skipped, by how many: /'
    grep -hE '^[^ ]+, element|Failure$|^\[  FAILED  \] [A-Za-z]|^kernel |^vivace: ' "$work/$1".*.log | sort -u | head -40 | sed 's/^/    /'
  } | say
}
if wanted ops; then
  title "Every kernel against the op's own meaning"
  run_tests ops 120 '*OnAGpu*'
fi

# rung LABEL COMPONENT OPTIONS...: of one call.
rung() {
  local label=$1
  shift
  (($(left) > 15)) || { printf '| %s | not reached in the time | | | | |\n' "$label" | say; return; }
  within 100 "$vivace" bench-component "$@" --device cuda --height 1024 --width 1024 --runs 5 --json >"$work/rung.json" 2>"$work/rung.log"
  "$python" - "$label" "$work/rung.json" "$work/rung.log" "$?" <<'P' 2>&1 | tail -1 | say
import json, sys
label, path, log, status = sys.argv[1:]
try:
    r = json.loads(open(path).read())
    start = r["load_seconds"] + r["compile_seconds"] + r["prepare_seconds"] + r["first_seconds"]
    print(f"| {label} | {r['min']:.4f} s | {r['median']:.4f} s | {r['flops'] / r['min'] / 1e12:.1f} | {start:.1f} s | {r['steps_recorded']}, {r['steps_replayed']} |")
except (OSError, ValueError, KeyError):
    lines = open(log).read().strip().splitlines() or ["nothing was said"]
    print(f"| {label} | {'cut short' if status in ('124', '137') else 'status ' + status}: {lines[-1][:300]} | | | | |")
P
}
ladder_head() { printf '| rung | a call, best | median | TFLOP/s | until the first | captured, replayed |\n|---|---|---|---|---|---|\n' | say; }
unet=(unet --batch 2 --dtype bf16)
fast=(--compile max-autotune --autotune-seconds 20 --fuse-qkv)
one_graph=(--compile reduce-overhead --fuse-qkv)
if wanted sdxl; then
  title "SDXL's UNet, batch 2 (guidance), 1024 x 1024: a step"
  if model; then
    ladder_head
    rung "bf16, one graph, fused QKV" "${unet[@]}" --model "$MODEL" "${one_graph[@]}"
    rung "bf16, everything" "${unet[@]}" --model "$MODEL" "${fast[@]}"
    rung "bf16, int8 dynamic" "${unet[@]}" --model "$MODEL" "${one_graph[@]}" --quantize int8-dynamic --quantize-filter all
    rung "bf16, float8 dynamic" "${unet[@]}" --model "$MODEL" "${one_graph[@]}" --quantize float8-dynamic
  else
    no_model
  fi
fi
# picture NAME MODEL OPTIONS...: $work/NAME.npy, and what the program says of it.
picture() {
  within 40 "$vivace" generate "a red apple" --model "assets/$2" --seed 1 --num-inference-steps 8 --json --output "$work/$1.npy" "${@:3}" >"$work/$1.json" 2>"$work/$1.log"
}
if wanted pictures; then
  title "Pictures against the CPU's in fp32"
  printf '| | PSNR, dB | waits in the loop | captured, replayed | median step, ms |\n|---|---|---|---|---|\n' | say
  for m in emoji-xl emoji-flux; do
    picture "$m" $m --device cpu --dtype fp32 --compile default
    for options in "fp32 off" "fp32 reduce-overhead" "bf16 off" "bf16 reduce-overhead" "bf16 reduce-overhead --quantize int8-dynamic --quantize-filter all" \
      "bf16 reduce-overhead --quantize float8-dynamic"; do
      wanted pictures || break
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
    n = said["counters"]
    print(f"| {label} | {psnr} | {n['loop_host_device_syncs']} | {n['steps_recorded']}, {n['steps_replayed']} | {1e3 * statistics.median(said['seconds']['steps'][1:]):.2f} |")
except (OSError, ValueError, KeyError):
    lines = open(got + ".log").read().strip().splitlines() or ["nothing was said"]
    print(f"| {label} | {lines[-1][:300]} | | | |")
P
      rm -f "$work/$m-gpu.npy"
    done
  done
fi
if wanted profile; then
  title "Where a step's time goes (bf16, compiled)"
  if model; then
    { echo '```'; within 60 "$vivace" profile --model "$MODEL" --component unet --device cuda --dtype bf16 --compile default --height 1024 --width 1024 --batch 2 --runs 2 2>&1 | head -60; echo '```'; } | say
  else
    no_model
  fi
fi
if wanted flux; then
  title "FLUX.1 at full width, 2 double and 4 single blocks of 19 and 38, 1024 x 1024: a step"
  slice=$work/flux-slice-configs
  cp -r assets/configs/flux-dev "$slice" && sed -i 's/"num_layers": 19/"num_layers": 2/; s/"num_single_layers": 38/"num_single_layers": 4/' "$slice/transformer/config.json"
  if random_model "$slice" transformer "$work/flux"; then
    ladder_head
    of=(transformer --batch 1 --model "$work/flux" --dtype bf16)
    rung "bf16, one graph" "${of[@]}" --compile reduce-overhead
    rung "bf16, everything" "${of[@]}" --compile max-autotune --autotune-seconds 15
    rung "bf16, int8 dynamic" "${of[@]}" --compile reduce-overhead --quantize int8-dynamic --quantize-filter all
    rung "bf16, float8 dynamic" "${of[@]}" --compile reduce-overhead --quantize float8-dynamic
    rung "bf16, eager" "${of[@]}"
  else
    printf 'The model could not be made (3 GB in %s).\n' "$work" | say
  fi
  rm -rf "$work/flux"
fi
if wanted ladder; then
  title "SDXL's UNet, rung by rung"
  if model; then
    ladder_head
    of=(unet --batch 2 --model "$MODEL")
    rung "fp32, math attention" "${of[@]}" --dtype fp32 --sdpa math
    rung "tf32, math attention" "${of[@]}" --dtype fp32 --float32-matmul-precision high --sdpa math
    rung "bf16, math attention" "${of[@]}" --dtype bf16 --sdpa math
    rung "bf16, SDPA" "${of[@]}" --dtype bf16
    rung "bf16, compiled" "${of[@]}" --dtype bf16 --compile default --disable-pass fuse_projections
    rung "bf16, compiled, one graph" "${of[@]}" --dtype bf16 --compile reduce-overhead --disable-pass fuse_projections
    rung "bf16, float8 weights" "${of[@]}" --dtype bf16 "${one_graph[@]}" --quantize float8-weight-only
  else
    no_model
  fi
fi
for tool in memcheck racecheck; do
  wanted $tool || continue
  title "compute-sanitizer, $tool"
  if command -v compute-sanitizer >/dev/null; then
    in_shards $tool 60 '*OnAGpu*bfloat16' compute-sanitizer --tool $tool
    grep -hE 'ERROR SUMMARY|RACECHECK SUMMARY' "$work/$tool".*.log | sed 's/=//g' | sort | uniq -c |
      awk -v of="$shards" '{ n += $1; print } END { if (n < of) printf "%d of %d processes were cut short\n", of - n, of }' | sed 's/^ */    /' | say
    grep -hE '^=+ (Invalid|Error|Warning|Potential)' "$work/$tool".*.log | sed 's/=//g' | sort | uniq -c | sort -rn | head -10 | sed 's/^ */    /' | say
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
printf '\nTook %s s.\n' "$((SECONDS - begin))" | say
