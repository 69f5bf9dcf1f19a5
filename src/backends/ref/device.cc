#include "backends/ref/device.h"

#include <vector>

#include "backends/host_device.h"
#include "backends/ref/kernels.h"

namespace vivace::ref {
namespace {

template <void (*kernel)(const Bound&)>
std::unique_ptr<BoundKernel> bind(const KernelCall& call, const Buffers& buffers) {
  return bound([b = Bound{call, *call.attrs, buffers}] { kernel(b); });
}

template <void (*kernel)(const Bound&)>
KernelEntry row(std::string_view name, Op op) {
  return {.name = std::string(name),
          .op = op,
          .ask = [](const KernelCall& call, const Target&) -> Answer { return call_offer(call, bind<kernel>); },
          .plain = true,
          .traits = kGraphBreak};
}

const std::vector<KernelEntry>& list() {
  static const std::vector<KernelEntry> value{
      row<elementwise>("ref_add", Op::add),
      row<elementwise>("ref_sub", Op::sub),
      row<elementwise>("ref_mul", Op::mul),
      row<elementwise>("ref_div", Op::div),
      row<elementwise>("ref_silu", Op::silu),
      row<elementwise>("ref_gelu", Op::gelu),
      row<elementwise>("ref_gelu_tanh", Op::gelu_tanh),
      row<elementwise>("ref_quick_gelu", Op::quick_gelu),
      row<elementwise>("ref_relu", Op::relu),
      row<elementwise>("ref_exp", Op::exp),
      row<elementwise>("ref_rsqrt", Op::rsqrt),
      row<elementwise>("ref_affine", Op::affine),
      row<elementwise>("ref_clamp", Op::clamp),
      row<elementwise>("ref_cast", Op::cast),
      row<reduce>("ref_reduce_mean", Op::reduce_mean),
      row<reduce>("ref_reduce_max", Op::reduce_max),
      row<reduce>("ref_reduce_sum", Op::reduce_sum),
      row<matmul>("ref_matmul", Op::matmul),
      row<transpose>("ref_transpose", Op::transpose),
      row<copy>("ref_reshape", Op::reshape),
      row<copy>("ref_flatten_hw", Op::flatten_hw),
      row<copy>("ref_unflatten_hw", Op::unflatten_hw),
      row<slice>("ref_slice", Op::slice),
      row<concat>("ref_concat", Op::concat),
      row<interleave>("ref_interleave", Op::interleave),
      row<causal_mask>("ref_causal_mask", Op::causal_mask),
      row<conv2d>("ref_conv2d", Op::conv2d),
      row<upsample_nearest>("ref_upsample_nearest", Op::upsample_nearest),
      row<widen>("ref_widen", Op::widen),
      row<embedding>("ref_embedding", Op::embedding),
      row<gather_rows>("ref_gather_rows", Op::gather_rows),
      row<argmax>("ref_argmax", Op::argmax),
      row<first_equal>("ref_first_equal", Op::first_equal),
      row<select_row>("ref_select_row", Op::select_row),
      row<expand_rows>("ref_expand_rows", Op::expand_rows),
      row<sinusoid>("ref_sinusoid", Op::sinusoid),
      row<fill>("ref_fill", Op::fill),
      row<center_crop>("ref_center_crop", Op::center_crop),
      row<rotary_table>("ref_rotary_table", Op::rotary_table),
      row<relative_position_bias>("ref_relative_position_bias", Op::relative_position_bias),
  };
  return value;
}

class RefDevice final : public HostDevice {
 public:
  Target target() const override { return {.name = "ref", .text = "the oracle", .level_name = "float64"}; }
  std::span<const KernelEntry> kernels() const override { return list(); }
  LoopKernels loop_kernels(const LoopCall& call) override { return ref::loop_kernels(call); }
};

}  // namespace

const std::shared_ptr<Device>& device() {
  static const std::shared_ptr<Device> value = std::make_shared<RefDevice>();
  return value;
}

}  // namespace vivace::ref
