#include "backends/cpu/kernels/conv/conv.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "backends/cpu/kernels/conv/plan.h"
#include "backends/cpu/kernels/int16_row.h"
#include "base/parallel.h"
#include "vivace/tensor.h"

namespace vivace::cpu {
namespace {

enum class Algorithm { direct, phases, winograd_f2, winograd_f4, winograd_upsample };
enum class Products { f32, bf16, int16 };  // int16 with Winograd alone
constexpr int kTaps = 9;                   // of a convolution that Winograd takes

const ConvIsaKernels& kernels_for(Products products, Isa isa) {
  if (products == Products::bf16) return isa >= Isa::amx ? amx::kConvBf16 : avx512_bf16::kConvBf16;
  if (products == Products::int16) {
    if (isa >= Isa::avx512_vnni) return avx512_vnni::kConvInt16;
    return isa >= Isa::avx512 ? avx512::kConvInt16 : isa >= Isa::avx2_vnni ? avx2_vnni::kConvInt16 : avx2::kConvInt16;
  }
  return isa >= Isa::avx512 ? avx512::kConvF32 : avx2::kConvF32;
}

constexpr bool is_winograd(Algorithm algorithm) { return algorithm >= Algorithm::winograd_f2; }

// Of the Winograd algorithms.
constexpr const WinogradShape& winograd_shape(Algorithm algorithm) {
  return algorithm == Algorithm::winograd_f2 ? kWinogradF2 : algorithm == Algorithm::winograd_f4 ? kWinogradF4 : kWinogradUpsample;
}

// Every slot of the packed weights as a combination of the kernel's taps.
struct Slots {
  int count = 0;
  std::vector<double> coefficients;  // [count][taps]
};

// Rows of `row_of` [side][3] by columns of `col_of`, as combinations of the 3x3 taps.
void append_products(Slots& slots, const double (*row_of)[3], const double (*col_of)[3], int side) {
  for (int i = 0; i < side; ++i)
    for (int j = 0; j < side; ++j, ++slots.count)
      for (int t = 0; t < 9; ++t) slots.coefficients.push_back(row_of[i][t / 3] * col_of[j][t % 3]);
}

Slots make_slots(Algorithm algorithm, const ConvSpec& spec) {
  Slots slots;
  if (is_winograd(algorithm)) {
    const WinogradShape& shape = winograd_shape(algorithm);
    append_products(slots, shape.weight_transform, shape.weight_transform, shape.pos);
  } else if (algorithm == Algorithm::phases) {
    // Even output pixels see their left neighbour once and their own pixel twice, odd ones the reverse.
    constexpr double sums[2][2][3] = {{{1, 0, 0}, {0, 1, 1}}, {{1, 1, 0}, {0, 0, 1}}};
    for (int phase = 0; phase < 4; ++phase) append_products(slots, sums[phase / 2], sums[phase % 2], 2);
  } else {
    slots.count = spec.kernel * spec.kernel;
    for (int i = 0; i < slots.count; ++i)
      for (int t = 0; t < slots.count; ++t) slots.coefficients.push_back(i == t);
  }
  return slots;
}

std::string text(int64_t n) { return std::to_string(n); }

template <Algorithm algorithm, Products products>
std::optional<std::string> refuse(const ConvSpec& spec, Isa isa) {
  constexpr bool upsamples = algorithm == Algorithm::phases || algorithm == Algorithm::winograd_upsample;
  // int16 is a way to form float32's products.
  constexpr DType compute = products == Products::bf16 ? DType::bfloat16 : DType::float32;
  if (spec.compute != compute) return "computes in " + std::string(dtype_name(compute)) + ", not " + std::string(dtype_name(spec.compute));
  const Isa needed = products == Products::bf16 ? Isa::avx512_bf16 : Isa::avx2;
  if (isa < needed) return "needs " + std::string(isa_name(needed)) + ", this machine offers " + std::string(isa_name(isa));
  if (spec.act != DType::float32 && spec.act != DType::bfloat16 && spec.act != DType::float16)
    return "activations of " + std::string(dtype_name(spec.act));
  if (spec.w != DType::float32 && spec.w != DType::bfloat16 && spec.w != DType::float16) return "weights kept as " + std::string(dtype_name(spec.w));
  if (spec.in_channels < 1 || spec.out_channels < 1 || spec.depth < 1) return "no channels";
  if (spec.upsample2x != upsamples) return upsamples ? "only for a convolution after nearest 2x upsampling" : "does not upsample";
  if (upsamples || is_winograd(algorithm)) {
    if (spec.kernel != 3) return "kernel " + text(spec.kernel) + ", not 3";
    if (spec.stride != 1) return "stride " + text(spec.stride) + ", not 1";
  }
  if (spec.kernel != 1 && spec.kernel != 3) return "kernel " + text(spec.kernel) + ", neither 1 nor 3";
  if (spec.stride != 1 && spec.stride != 2) return "stride " + text(spec.stride) + ", neither 1 nor 2";
  const ConvPadding& pad = spec.pad;
  if (pad.top < 0 || pad.left < 0 || pad.bottom < 0 || pad.right < 0) return "negative padding";
  if (upsamples && (pad.top != 1 || pad.left != 1 || pad.bottom != 1 || pad.right != 1)) return "padding other than 1 on each side";
  return std::nullopt;
}

// Of weights that are packed as the products take them, or as they are kept.
template <Algorithm algorithm, Products products>
DType packed_dtype(const ConvSpec& spec) {
  const bool kept = products == Products::int16 || (!is_winograd(algorithm) && spec.compute == DType::float32);
  return kept ? spec.w : spec.compute;
}

template <Algorithm algorithm>
int slot_count(const ConvSpec& spec) {
  if (is_winograd(algorithm)) return winograd_shape(algorithm).pos * winograd_shape(algorithm).pos;
  return algorithm == Algorithm::phases ? 16 : spec.kernel * spec.kernel;
}

// Bytes of the scales that weights for int16 begin with: [panel][slot][channel of the panel]. The taps follow: [panel][tap][channel][channel of the
// panel].
template <Algorithm algorithm>
size_t scale_bytes(const ConvSpec& spec, const ConvFormat& format) {
  return static_cast<size_t>(format.panels(spec.out_channels) * slot_count<algorithm>(spec) * format.panel) * sizeof(float);
}

template <Algorithm algorithm, Products products>
size_t packed_bytes(const ConvSpec& given, Isa isa) {
  const ConvFormat& format = kernels_for(products, isa).format;
  const ConvSpec spec = over_frames(format, given);
  const int64_t columns = format.panels(spec.out_channels) * format.panel;
  const size_t element = dtype_size(packed_dtype<algorithm, products>(spec));
  if (products == Products::int16) return scale_bytes<algorithm>(spec, format) + static_cast<size_t>(columns * kTaps * spec.in_channels) * element;
  return static_cast<size_t>(columns * slot_count<algorithm>(spec) * format.units(spec.in_channels) * format.unit) * element;
}

// The scale of a column of a panel: the largest that kConvInt16Block of its channels need.
float int16_scale(const float* wide, int64_t channels, int panel) {
  float largest = 0;
  for (int64_t first = 0; first < channels; first += kConvInt16Block) {
    RowSize size;
    for (int64_t i = first; i < std::min<int64_t>(channels, first + kConvInt16Block); ++i) {
      const float x = wide[i * panel];
      size.squares += x * x, size.largest = std::max(size.largest, std::bit_cast<int32_t>(std::fabs(x)));
    }
    const Int16Row block(size, kConvInt16Block);
    if (!(block.scale <= largest)) largest = block.scale;
    if (std::isnan(largest)) break;
  }
  return largest;
}

// The scales of panel `index`, which is transformed alone, in float32.
void find_scales(const ConvIsaKernels& kernels, const ConvPackJob& job, int64_t index, float* scales) {
  const int panel = kernels.format.panel;
  const int64_t first = index * panel;
  std::vector<float> wide(static_cast<size_t>(job.slots * job.in_channels * panel));  // [slot][channel][output]
  ConvPackJob one = job;
  one.weight = static_cast<const char*>(job.weight) + first * job.in_channels * job.taps * static_cast<int64_t>(dtype_size(job.dtype));
  one.out_channels = std::min<int64_t>(panel, job.out_channels - first), one.packed = wide.data(), one.packed_dtype = DType::float32;
  kernels.pack_panel(one, 0);
  for (int64_t column = 0; column < job.slots * panel; ++column)
    scales[first * job.slots + column] = int16_scale(wide.data() + column / panel * job.in_channels * panel + column % panel, job.in_channels, panel);
}

// [O, I, depth, taps] -> [O, the channels of over_frames(), taps].
Tensor stack_frames(const Tensor& weight, int64_t channels) {
  const int64_t outputs = weight.dim(0), inputs = weight.dim(1), depth = weight.dim(2);
  const size_t taps = static_cast<size_t>(weight.dim(3)) * dtype_size(weight.dtype());
  Tensor stacked = Tensor::zeros({outputs, channels, weight.dim(3)}, weight.dtype());
  parallel_for(outputs, 1, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o)
      for (int64_t i = 0; i < inputs; ++i)
        for (int64_t frame = 0; frame < depth; ++frame)
          std::memcpy(stacked.as<char>() + static_cast<size_t>(o * channels + frame * (channels / depth) + i) * taps,
                      weight.as<char>() + static_cast<size_t>((o * inputs + i) * depth + frame) * taps, taps);
  });
  return stacked;
}

template <Algorithm algorithm, Products products>
void pack(const ConvSpec& given, Isa isa, const void* weight, DType dtype, void* packed, Stop stop) {
  const ConvIsaKernels& kernels = kernels_for(products, isa);
  const ConvFormat& format = kernels.format;
  const ConvSpec spec = over_frames(format, given);
  const int taps = spec.kernel * spec.kernel;
  // The vector code does not read every dtype; and for int16 the scales must fit the taps as they are kept.
  Tensor readable = Tensor::view({spec.out_channels, given.in_channels, given.depth, taps}, dtype, const_cast<void*>(weight));
  if (spec.depth > 1) readable = stack_frames(readable, spec.in_channels);
  if (products == Products::int16)
    readable = readable.to(spec.w);
  else if (dtype == DType::float8_e4m3 || dtype == DType::float64)
    readable = readable.to(DType::float32);
  const Slots slots = make_slots(algorithm, spec);
  const auto job = [&](const Slots& of, void* to) {
    return ConvPackJob{spec.in_channels,
                       spec.out_channels,
                       taps,
                       of.count,
                       of.coefficients.data(),
                       readable.data(),
                       readable.dtype(),
                       to,
                       packed_dtype<algorithm, products>(spec)};
  };
  const auto each_panel = [&](const auto& body) {
    parallel_for(format.panels(spec.out_channels), 1, [&](int64_t begin, int64_t end) {
      for (int64_t panel = begin; panel < end && !stopped(stop); ++panel) body(panel);
    });
  };
  if (products != Products::int16) return each_panel([&](int64_t panel) { kernels.pack_panel(job(slots, packed), panel); });
  const Slots as_they_are = make_slots(Algorithm::direct, spec);
  each_panel([&](int64_t panel) {
    find_scales(kernels, job(slots, nullptr), panel, static_cast<float*>(packed));
    kernels.pack_panel(job(as_they_are, static_cast<char*>(packed) + scale_bytes<algorithm>(spec, format)), panel);
  });
}

// A 1x1 convolution has no rows: walked as one, its register tiles are all full.
bool is_flat(const ConvSpec& spec) {
  return spec.kernel == 1 && spec.stride == 1 && spec.pad.top + spec.pad.left + spec.pad.bottom + spec.pad.right == 0;
}

template <Algorithm algorithm, Products products>
ConvPlan make_plan(const ConvSpec& given, Isa isa, int64_t n, int64_t h, int64_t w, int threads) {
  const ConvFormat& format = kernels_for(products, isa).format;
  const ConvSpec spec = over_frames(format, given);
  ConvPlan plan = is_winograd(algorithm) ? plan_winograd(winograd_shape(algorithm), format, spec, n, h, w, threads)
                  : is_flat(spec)        ? plan_direct(format, spec, n, 1, h * w, threads)
                                         : plan_direct(format, spec, n, h, w, threads);
  plan.threads = threads;
  return plan;
}

// body(thread, task) for every task, each taken by the first of `threads` that is free, until the work is stopped.
template <class Body>
void run_tasks(int64_t tasks, int threads, Stop stop, const Body& body) {
  std::atomic<int64_t> next{0};
  parallel_threads([&](int thread, int) {
    if (thread >= threads) return;
    for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks && !stopped(stop);) body(thread, task);
  });
}

void run_steps(const ConvSteps& steps, const ConvJob& job, void* workspace) {
  const ConvPlan& plan = job.plan;
  const int64_t blocks = plan.grid.count();
  const int threads = plan.threads;
  const Stop stop = job.args.stop;
  char* inputs = static_cast<char*>(workspace);
  char* scratches = inputs + static_cast<size_t>(plan.group > 0 ? plan.group : threads) * plan.input_bytes;
  char* weights = scratches + static_cast<size_t>(threads) * plan.scratch_bytes;
  const auto input = [&](int64_t i) { return inputs + static_cast<size_t>(i) * plan.input_bytes; };
  const auto scratch = [&](int thread) { return scratches + static_cast<size_t>(thread) * plan.scratch_bytes; };
  const auto weights_of = [&](int thread, int64_t panel) {
    return weights + static_cast<size_t>(plan.weights_first ? panel : thread) * plan.weight_bytes;
  };
  if (plan.weights_first)
    run_tasks(plan.panels, threads, stop, [&](int thread, int64_t panel) { steps.transform_weights(job, panel, weights_of(thread, panel)); });
  if (plan.group == 0) {
    run_tasks(blocks, threads, stop, [&](int thread, int64_t block) {
      steps.prepare(job, block, 0, plan.chunks, input(thread), scratch(thread));
      for (int64_t panel = 0; panel < plan.panels && !stopped(stop); ++panel)
        steps.multiply(job, block, panel, input(thread), weights_of(thread, panel), scratch(thread));
    });
    return;
  }
  const bool transforms = steps.transform_weights && !plan.weights_first;
  for (int64_t first = 0; first < blocks && !stopped(stop); first += plan.group) {
    const int64_t count = std::min(plan.group, blocks - first);
    run_tasks(count * plan.chunks, threads, stop, [&](int thread, int64_t task) {
      const int64_t block = task / plan.chunks, chunk = task % plan.chunks;
      steps.prepare(job, first + block, chunk, chunk + 1, input(block), scratch(thread));
    });
    // Panel by panel, so that a panel's weights are read from memory once. A task that transforms them does so for as many blocks as leaves all
    // threads busy.
    const int64_t parts = transforms ? std::clamp<int64_t>(4 * threads / plan.panels, 1, count) : count;
    run_tasks(plan.panels * parts, threads, stop, [&](int thread, int64_t task) {
      const int64_t panel = task / parts, part = task % parts;
      if (transforms) steps.transform_weights(job, panel, weights_of(thread, panel));
      for (int64_t block = part * count / parts; block < (part + 1) * count / parts && !stopped(stop); ++block)
        steps.multiply(job, first + block, panel, input(block), weights_of(thread, panel), scratch(thread));
    });
  }
}

template <Algorithm algorithm, Products products>
void run(const ConvSpec& spec, Isa isa, const ConvPlan& plan, const void* packed, const ConvArgs& args, void* workspace) noexcept {
  const ConvIsaKernels& kernels = kernels_for(products, isa);
  const ConvSteps& steps = algorithm == Algorithm::winograd_f2         ? kernels.winograd_f2
                           : algorithm == Algorithm::winograd_f4       ? kernels.winograd_f4
                           : algorithm == Algorithm::winograd_upsample ? kernels.winograd_upsample
                                                                       : kernels.direct;
  ConvArgs walked = args;
  if (is_flat(spec)) walked.w = args.h * args.w, walked.h = 1;
  const ConvSpec wide = over_frames(kernels.format, spec);
  run_steps(steps, {wide, plan, walked, packed, spec.in_channels}, workspace);
}

template <Algorithm algorithm, Products products>
double error(const ConvSpec& spec) {
  const auto channels = static_cast<double>(spec.in_channels * spec.depth);
  if (products == Products::f32) {
    constexpr double of_sums = algorithm == Algorithm::winograd_f4 ? 3.3
                               : algorithm == Algorithm::direct    ? .87
                               : algorithm == Algorithm::phases    ? .59
                                                                   : .52;
    return of_sums * 0x1p-24 * std::sqrt(channels);
  }
  // Of uncorrelated numbers the transforms raise the factors' share by the root of (sum over an output's products of A^2 B^2 G^2) / (its taps),
  // squared: 5/3 of F(2x2), where upsampling has the same, 10.8 of F(4x4).
  constexpr double transforms = algorithm == Algorithm::winograd_f4 ? 10.8 : is_winograd(algorithm) ? 5. / 3 : 1;
  // Two factors of bfloat16, 2^-8 / sqrt(6.2) each on the mean. A step of int16 is the largest that a block of a column's channels needs.
  return transforms * (products == Products::bf16 ? 2.25e-3 : 6.4e-5 * std::pow(channels / 96, .075));
}

template <Algorithm algorithm, Products products>
constexpr ConvKernel entry(std::string_view name) {
  return {name,
          is_winograd(algorithm),
          products == Products::int16,
          refuse<algorithm, products>,
          packed_bytes<algorithm, products>,
          pack<algorithm, products>,
          make_plan<algorithm, products>,
          run<algorithm, products>,
          error<algorithm, products>};
}

constexpr ConvKernel kKernels[] = {
    entry<Algorithm::winograd_upsample, Products::bf16>("winograd_upsample_bf16"),
    entry<Algorithm::winograd_upsample, Products::int16>("winograd_upsample_int16"),
    entry<Algorithm::winograd_upsample, Products::f32>("winograd_upsample_f32"),
    entry<Algorithm::phases, Products::bf16>("upsample_phases_bf16"),
    entry<Algorithm::phases, Products::f32>("upsample_phases_f32"),
    entry<Algorithm::winograd_f2, Products::bf16>("winograd_f2_bf16"),
    entry<Algorithm::winograd_f2, Products::int16>("winograd_f2_int16"),
    entry<Algorithm::winograd_f2, Products::f32>("winograd_f2_f32"),
    entry<Algorithm::winograd_f4, Products::int16>("winograd_f4_int16"),
    entry<Algorithm::winograd_f4, Products::f32>("winograd_f4_f32"),
    entry<Algorithm::direct, Products::bf16>("direct_bf16"),
    entry<Algorithm::direct, Products::f32>("direct_f32"),
};

}  // namespace

std::span<const ConvKernel> conv_kernels() { return kKernels; }

}  // namespace vivace::cpu
