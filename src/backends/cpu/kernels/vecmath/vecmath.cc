#include "backends/cpu/kernels/vecmath/vecmath.h"

#include "backends/cpu/kernels/vecmath/isa.h"

namespace vivace::cpu {
namespace baseline {
extern const VectorMath kVectorMath;
}  // namespace baseline
namespace avx2 {
extern const VectorMath kVectorMath;
}  // namespace avx2
namespace avx512 {
extern const VectorMath kVectorMath;
}  // namespace avx512
namespace avx512_bf16 {
extern const VectorMath kVectorMath;
}  // namespace avx512_bf16

const VectorMath& vector_math() noexcept { return of_isa(baseline::kVectorMath, avx2::kVectorMath, avx512::kVectorMath, avx512_bf16::kVectorMath); }

}  // namespace vivace::cpu
