#!/usr/bin/env bash
# Every figure of docs/PERFORMANCE.md's first table that this machine can show, as one Markdown table with the processor's name, in under half an hour.
#
#   tools/measure_cpu.sh [BUILD]        BUILD: a Release build with -DVIVACE_BENCH=ON and tests; "build" by default
#   PYTHON=venv/bin/python tools/measure_cpu.sh     with the peers that this Python has: torch and diffusers (eager), openvino
#   MODEL=DIR                                       full-size SDXL of random weights; made (12 GB for a while less in bf16) in a temporary folder otherwise
#   ONLY="unet512 int8 ..."                         some parts: peak kernels errors unet512 unet1024 vae few-steps flux-slice drift
#
# Contestants alternate, each started anew for its turn (bench/compare_torch.py); seconds are the best of the rounds. A part that can't run says why.
set -u
cd "$(dirname "$0")/.."
build=${1:-build} python=${PYTHON:-python3}
only=${ONLY:-peak kernels errors unet512 unet1024 vae few-steps flux-slice drift}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
begin=$SECONDS runs=2 warm_ups=2
rows=()

row() { rows+=("| $1 | $2 | $3 | $4 |"); echo "[$((SECONDS - begin)) s] $1: $2 $3 $4" >&2; }
wanted() { [[ " $only " == *" $1 "* ]]; }
left() { echo $((1750 - (SECONDS - begin))); }

peers=()
# Without AVX-512 PyTorch's products of bfloat16 take fifty times as long: a turn of it would be all the time that there is.
grep -qw avx512f /proc/cpuinfo && "$python" -c 'import torch, diffusers' 2>/dev/null && peers+=(eager)
"$python" -c 'import torch, diffusers, openvino' 2>/dev/null && peers+=(openvino)

model() {
  if [[ -z ${MODEL:-} ]]; then
    MODEL=$work/sdxl
    "$build/vivace" make-random assets/configs/sdxl-base "$MODEL" --dtype bf16 >&2 || return 1
  fi
}

# compare LABEL COMPONENT SIZE SECONDS CONTESTANTS...: those, as options of bench/compare_torch.py, beside the peers: one round, and more, to three, within
# so many seconds.
compare() {
  local label=$1 name=$2 size=$3 seconds=$4 json=$work/$2-$3.json
  shift 4
  if ((${#peers[@]} == 0)); then row "$label" "" "" "no Python with torch and diffusers for a peer (PYTHON=...)"; fi
  if ! timeout "$(left)" "$python" bench/compare_torch.py "$name" --dtype bf16 --height "$size" --width "$size" --rounds 3 --seconds "$seconds" --runs "$runs" --warm-ups "$warm_ups" --restart \
    --peers "${peers[@]}" "$@" --json "$json" >&2; then
    row "$label" "" "" "did not finish in the time there was"
    return
  fi
  while IFS='|' read -r who seconds peer ratio; do row "$label, $who" "$seconds" "$peer" "$ratio"; done < <("$python" - "$json" "${peers[@]}" <<'P'
import json, sys
results = {r["contestant"]: r for r in json.load(open(sys.argv[1]))["results"]}
best = min((p for p in sys.argv[2:] if p in results), key=lambda p: results[p]["min_seconds"], default=None)
for name, r in results.items():
    if name in sys.argv[2:]:
        continue
    peer = f"{best} {results[best]['min_seconds']:.2f} / {results[best]['median_seconds']:.2f} s" if best else ""
    ratio = f"{results[best]['min_seconds'] / r['min_seconds']:.2f}x / {results[best]['median_seconds'] / r['median_seconds']:.2f}x" if best else ""
    print(f"{name}|{r['min_seconds']:.2f} / {r['median_seconds']:.2f} s|{peer}|{ratio}")
P
  )
}

# component NAME SIZE LABEL SECONDS: of SDXL, Vivace in bf16 and, of the UNet, with every linear layer in int8 and attention in int8 too.
component() {
  local name=$1 size=$2 label=$3 seconds=$4
  model || { row "$label" "" "" "no room for the model"; return; }
  local worker="$build/vivace bench-component ${name/-/.} --worker --model $MODEL --dtype bf16 --height $size --width $size"
  local vivace=(--vivace-worker "vivace=$worker --compile max-autotune --compiler-flag conv_1x1_as_mm=true")
  if [[ $name == unet ]]; then
    local int8="$worker --compile max-autotune --compiler-flag conv_1x1_as_mm=true --quantize int8-dynamic --quantize-filter all"
    vivace+=(--vivace-worker "int8=$int8" --vivace-worker "int8+attention=$int8 --sdpa int8,auto")
  fi
  compare "$label" "$name" "$size" "$seconds" "${vivace[@]}"
}

# A picture of one step, every component in int8: a whole process from its start to the PNG, with a warm cache, and what of it is outside UNet and VAE.
few_steps() {
  local label="One step, whole process, int8" part few
  model || { row "$label" "" "" "no room for the model"; return; }
  few=("$build/vivace" generate "a red apple" --model "$MODEL" --dtype bf16 --num-inference-steps 1 --guidance-scale 0 --height 512 --width 512
    --compile max-autotune --compiler-flag conv_1x1_as_mm=true --quantize int8-dynamic --quantize-filter all --autotune-seconds 30
    --cache-dir "$work/cache" --output "$work/few.png" --json)
  for part in text_encoder text_encoder_2 unet vae; do few+=(--quantize-component "$part"); done
  if ! timeout "$(left)" "${few[@]}" >/dev/null; then
    row "$label" "" "" "did not finish in the time there was"
    return
  fi
  row "$label" "$("$python" - "${few[@]}" <<'P'
import json, subprocess, sys, time
runs = []
for _ in range(3):
    begin = time.perf_counter()
    out = subprocess.run(sys.argv[1:], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    whole, seconds = time.perf_counter() - begin, json.loads(out)["seconds"]
    runs.append((whole, whole - sum(seconds["steps"]) - seconds["decode"]))
print("%.2f s, %.2f s of it outside UNet and VAE" % min(runs))
P
  )" "" ""
  rm -rf "$work/cache"
}

# built PROGRAM LABEL: whether this benchmark is there; a row that says how it comes there, if not.
built() {
  [[ -x $build/bench/$1 ]] || { row "$2" "" "" "no $build/bench/$1: configure with -DVIVACE_BENCH=ON and build it"; return 1; }
}

if wanted peak; then
  row "Measured peak" "$("$build/vivace" profile --model assets/emoji-xl --compile default --runs 1 2>/dev/null | sed -n 's/^this machine.*with \([^:]*\): /\1: /p' | head -1)" "" ""
fi
if wanted kernels && built gemm_bench "GEMM"; then
  for shape in "bf16 plain 1024x1280x1280" "int16-dynamic plain 1024x1280x1280" "int8-dynamic plain 1024x1280x1280" "bf16 geglu 256x1280x10240" "int16-dynamic geglu 256x1280x10240"; do
    line=$("$build/bench/gemm_bench" 9 "$shape" | head -1)
    row "GEMM $shape" "$(sed -E 's/^[^|]*\| vivace [0-9.]+ ms ([0-9]+ GFLOP\/s).*/\1/' <<<"$line")" \
      "$(grep -oE '(brg|jit|gemm)[^|]*GFLOP/s' <<<"$line" | tail -1)" "$(grep -oE 'strassen: median [0-9.]+x' <<<"$line")"
  done
fi
if wanted errors; then
  if out=$(cd "$build" && timeout 300 ctest -R 'ErrorIsWhatItStates|ErrorsAreThoseStated|IsWhatIsStated|OutlierChannels' -j"$(nproc)" 2>&1); then
    passed=$(grep -oE '[0-9]+ tests passed|[0-9]+% tests passed[^(]*' <<<"$out" | tail -1)
    row "Stated errors of all kernels" "$passed" "" "$([[ $passed ]] || echo "no tests in $build: configure with tests and build them")"
  else
    row "Stated errors of all kernels" "FAILED: ctest -R Error" "" ""
  fi
fi
if wanted unet512; then component unet 512 "UNet 512²" 500; fi
if wanted vae; then component vae-decode 512 "VAE decode 512²" 150; fi
if wanted few-steps; then few_steps; fi
if wanted flux-slice; then
  compare "FLUX slice 512²" flux-slice 512 240 --vivace "$build/vivace" --vivace-options "bf16=--compile max-autotune" \
    --vivace-options "int8=--compile max-autotune --quantize int8-dynamic --quantize-filter all"
fi
if wanted drift && built quantization_drift "emoji-xl, drift"; then
  while IFS='|' read -r name figures; do row "emoji-xl, $name" "$figures" "" ""; done < <(
    timeout "$(left)" "$build/bench/quantization_drift" assets/emoji-xl 30 20 |
      sed -nE 's/^(int8[^0-9]*[a-z]) +([0-9.]+) +([0-9.]+) .*/\1|\2 dB median, \3 worst/p'
  )
fi
if wanted unet1024; then
  # Four times the work in what is left of the time: one run of each in one round, beside the peer that was the faster one at 512².
  fastest=$("$python" -c 'import json, sys; print(min((r["min_seconds"], r["contestant"]) for r in json.load(open(sys.argv[1]))["results"] if r["contestant"] in sys.argv[2:])[1])' \
    "$work/unet-512.json" "${peers[@]}" 2>/dev/null) && peers=("$fastest")
  runs=1 warm_ups=1
  component unet 1024 "UNet 1024²" 1
fi

echo
echo "$(grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //'), $(nproc) processors; $("$build/vivace" --version 2>/dev/null | head -1); $((SECONDS - begin)) s"
echo
echo "| | Vivace, minimum / median | best peer | ratio of minima / of medians |"
echo "|---|---|---|---|"
printf '%s\n' "${rows[@]}"
