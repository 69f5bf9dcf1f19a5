#include "backends/cpu/kernels/vecmath/functions.h"
#include "backends/cpu/kernels/vecmath/vecmath.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

template <VF (*function)(VF)>
void map(const float* x, float* y, int64_t count) {
  each_vector(count, [&](int64_t i, auto lanes) { Float32::store(function(Float32::load(x + i, lanes)), y + i, lanes); });
}

}  // namespace

extern const VectorMath kVectorMath;
const VectorMath kVectorMath = {map<vexp>, map<vlog>,  map<vtanh>, map<verf>,       map<vsigmoid>,   map<vsin>,
                                map<vcos>, map<vsilu>, map<vgelu>, map<vgelu_tanh>, map<vquick_gelu>};

}  // namespace vivace::cpu::VIVACE_SIMD
