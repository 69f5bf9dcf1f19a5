#include "backends/cpu/kernels/vecmath.h"

#include "backends/cpu/isa.h"

namespace vivace::cpu {
namespace baseline { extern const VectorMath kVectorMath; }
namespace avx2 { extern const VectorMath kVectorMath; }
namespace avx512 { extern const VectorMath kVectorMath; }

const VectorMath& vector_math() noexcept {
  return isa() >= Isa::avx512 ? avx512::kVectorMath : isa() == Isa::avx2 ? avx2::kVectorMath : baseline::kVectorMath;
}

}  // namespace vivace::cpu
