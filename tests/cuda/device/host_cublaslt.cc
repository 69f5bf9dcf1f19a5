// cuBLASLt's functions by plain arithmetic, from the very descriptions that were set: column-major matrices with leading dimensions, transpositions,
// epilogues, data types, the alignment that was promised. What the library would refuse is refused.
#include <cmath>
#include <cstring>
#include <optional>
#include <vector>

#include "backends/cuda/cublaslt.h"
#include "backends/ref/element.h"
#include "host_driver.h"
#include "tf32.h"

namespace vivace::cuda {
namespace {

thread_local HostDriver* t_opening = nullptr;  // whose library is being opened

struct Operation {
  cublasComputeType_t compute;
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
  std::optional<cudaDataType_t> bias_type;  // default: the result's
  int32_t a_mode = 0, b_mode = 0;           // of the scales of a and b; 0: one of each
  const float *a_scales = nullptr, *b_scales = nullptr;
};
struct Layout {
  cudaDataType_t type;
  uint64_t rows, columns;
  int64_t leading;
};
struct Preference {
  size_t workspace = 0;
  uint32_t alignment = 256;  // the library's own assumption
};
struct Algorithm {
  uint64_t number;
  uint32_t alignment;
};

template <class T>
T& of(auto* handle) {
  return *reinterpret_cast<T*>(handle);
}
template <class T>
const T& of(const auto* handle) {
  return *reinterpret_cast<const T*>(handle);
}
template <class T>
cublasStatus_t take(const void* value, size_t bytes, T& to) {
  if (bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

bool is_known(cudaDataType_t type) { return type == CUDA_R_32F || type == CUDA_R_16BF || type == CUDA_R_16F; }
DType dtype_of(cudaDataType_t type) {
  if (type == CUDA_R_8F_E4M3) return DType::float8_e4m3;
  return type == CUDA_R_32F ? DType::float32 : type == CUDA_R_16BF ? DType::bfloat16 : DType::float16;
}
// The header's CUBLASLT_MATMUL_DESC_A_SCALE_MODE, .._B_SCALE_MODE and CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F, which older ones lack.
constexpr int kAScaleMode = 31, kBScaleMode = 32, kOuterVector = 3;

struct Problem {
  Operation operation;
  Layout a, b, c, d;

  bool is_float8() const { return a.type == CUDA_R_8F_E4M3; }
  // "TN" alone, whole 16 bytes, a scale for each row of d and for each column, and no bias of float32.
  bool is_possible_float8() const {
    const bool bias = operation.epilogue != CUBLASLT_EPILOGUE_DEFAULT && operation.epilogue != CUBLASLT_EPILOGUE_RELU &&
                      operation.epilogue != CUBLASLT_EPILOGUE_GELU;
    return operation.a == CUBLAS_OP_T && operation.b == CUBLAS_OP_N && operation.a_mode == kOuterVector && operation.b_mode == kOuterVector &&
           a.rows % 16 == 0 && d.rows % 16 == 0 && a.leading % 16 == 0 && b.leading % 16 == 0 && !(bias && d.type == CUDA_R_32F);
  }
  bool has_scales() const {
    const auto good = [](const float* p) { return p && reinterpret_cast<uintptr_t>(p) % 16 == 0; };
    return !is_float8() || (good(operation.a_scales) && good(operation.b_scales));
  }

  bool is_possible() const {
    const auto rows = [](const Layout& l, cublasOperation_t op) { return op == CUBLAS_OP_N ? l.rows : l.columns; };
    const auto columns = [](const Layout& l, cublasOperation_t op) { return op == CUBLAS_OP_N ? l.columns : l.rows; };
    for (const Layout* l : {&a, &b, &c, &d})
      if (l->leading < static_cast<int64_t>(l->rows) || !(is_known(l->type) || (is_float8() && (l == &a || l == &b)))) return false;
    if (is_float8() && !is_possible_float8()) return false;
    if (!is_float8() && (operation.a_mode || operation.b_mode || operation.a_scales || operation.b_scales)) return false;
    if (a.type != b.type || c.type != d.type || (a.type == CUDA_R_32F && d.type != CUDA_R_32F)) return false;
    if (operation.bias_type && operation.bias_type != d.type) return false;
    if (operation.compute != CUBLAS_COMPUTE_32F && !(operation.compute == CUBLAS_COMPUTE_32F_FAST_TF32 && a.type == CUDA_R_32F)) return false;
    return rows(a, operation.a) == d.rows && columns(b, operation.b) == d.columns && columns(a, operation.a) == rows(b, operation.b) &&
           c.rows == d.rows && c.columns == d.columns;
  }
};

double finished(double x, cublasLtEpilogue_t epilogue) {
  if (epilogue == CUBLASLT_EPILOGUE_RELU || epilogue == CUBLASLT_EPILOGUE_RELU_BIAS) return std::fmax(x, 0);
  if (epilogue == CUBLASLT_EPILOGUE_GELU || epilogue == CUBLASLT_EPILOGUE_GELU_BIAS)
    return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  return x;
}

void multiply(const Problem& p, double alpha, const void* a, const void* b, double beta, const void* c, void* d) {
  const bool tensor_cores = p.operation.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
  const uint64_t m = p.d.rows, n = p.d.columns, k = p.operation.a == CUBLAS_OP_N ? p.a.columns : p.a.rows;
  // [m, k] and [n, k], so that sums run along memory.
  const auto unpacked = [&](const Layout& l, const void* data, uint64_t rows, bool k_is_first) {
    std::vector<float> all(rows * k);
    for (uint64_t r = 0; r < rows; ++r)
      for (uint64_t i = 0; i < k; ++i) {
        const auto at = static_cast<int64_t>(k_is_first ? i : r) + static_cast<int64_t>(k_is_first ? r : i) * l.leading;
        const double x = ref::load(dtype_of(l.type), data, at);
        all[r * k + i] = tensor_cores ? tf32(x) : static_cast<float>(x);
      }
    return all;
  };
  const std::vector<float> rows_a = unpacked(p.a, a, m, p.operation.a == CUBLAS_OP_T), rows_b = unpacked(p.b, b, n, p.operation.b == CUBLAS_OP_N);
  const auto epilogue = p.operation.epilogue;
  const bool bias = epilogue == CUBLASLT_EPILOGUE_BIAS || epilogue == CUBLASLT_EPILOGUE_RELU_BIAS || epilogue == CUBLASLT_EPILOGUE_GELU_BIAS;
  for (uint64_t j = 0; j < n; ++j)
    for (uint64_t i = 0; i < m; ++i) {
      double sum = 0;
      for (uint64_t t = 0; t < k; ++t) sum += static_cast<double>(rows_a[i * k + t]) * rows_b[j * k + t];
      sum *= alpha;
      if (p.is_float8()) sum *= static_cast<double>(p.operation.a_scales[i]) * p.operation.b_scales[j];
      if (beta != 0) sum += beta * ref::load(dtype_of(p.c.type), c, static_cast<int64_t>(i) + static_cast<int64_t>(j) * p.c.leading);
      if (bias) sum += ref::load(dtype_of(p.d.type), p.operation.bias, static_cast<int64_t>(i));
      ref::store(dtype_of(p.d.type), d, static_cast<int64_t>(i) + static_cast<int64_t>(j) * p.d.leading, finished(sum, epilogue));
    }
}

cublasStatus_t CUBLASWINAPI create(cublasLtHandle_t* handle) {
  *handle = reinterpret_cast<cublasLtHandle_t>(t_opening);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t CUBLASWINAPI destroy(cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; }
size_t CUBLASWINAPI version() { return 130000; }

cublasStatus_t CUBLASWINAPI create_operation(cublasLtMatmulDesc_t* operation, cublasComputeType_t compute, cudaDataType_t scale) {
  *operation = reinterpret_cast<cublasLtMatmulDesc_t>(new Operation{.compute = compute});
  return scale == CUDA_R_32F ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}
cublasStatus_t CUBLASWINAPI destroy_operation(cublasLtMatmulDesc_t operation) {
  delete &of<Operation>(operation);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t CUBLASWINAPI set_operation(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t which, const void* value, size_t bytes) {
  auto& o = of<Operation>(operation);
  if (static_cast<int>(which) == kAScaleMode) return take(value, bytes, o.a_mode);
  if (static_cast<int>(which) == kBScaleMode) return take(value, bytes, o.b_mode);
  switch (which) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return take(value, bytes, o.a);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return take(value, bytes, o.b);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return take(value, bytes, o.epilogue);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return take(value, bytes, o.bias);
    case CUBLASLT_MATMUL_DESC_A_SCALE_POINTER:
      return take(value, bytes, o.a_scales);
    case CUBLASLT_MATMUL_DESC_B_SCALE_POINTER:
      return take(value, bytes, o.b_scales);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return take(value, bytes, o.bias_type.emplace());
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t CUBLASWINAPI create_layout(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows, uint64_t columns, int64_t leading) {
  *layout = reinterpret_cast<cublasLtMatrixLayout_t>(new Layout{type, rows, columns, leading});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t CUBLASWINAPI destroy_layout(cublasLtMatrixLayout_t layout) {
  delete &of<Layout>(layout);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t CUBLASWINAPI create_preference(cublasLtMatmulPreference_t* preference) {
  *preference = reinterpret_cast<cublasLtMatmulPreference_t>(new Preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t CUBLASWINAPI destroy_preference(cublasLtMatmulPreference_t preference) {
  delete &of<Preference>(preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t CUBLASWINAPI set_preference(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t which, const void* value,
                                           size_t bytes) {
  auto& p = of<Preference>(preference);
  return which == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? take(value, bytes, p.workspace) : take(value, bytes, p.alignment);
}

// Two algorithms, the last with a workspace; one between them that is none.
constexpr uint64_t kRefused = 1;
cublasStatus_t CUBLASWINAPI heuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                      cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int wanted,
                                      cublasLtMatmulHeuristicResult_t results[], int* found) {
  *found = 0;
  if (&of<HostDriver>(handle) != &HostDriver::entered()) return CUBLAS_STATUS_NOT_INITIALIZED;
  const Problem problem{of<Operation>(operation), of<Layout>(a), of<Layout>(b), of<Layout>(c), of<Layout>(d)};
  if (!problem.is_possible()) return CUBLAS_STATUS_NOT_SUPPORTED;
  const auto& p = of<Preference>(preference);
  for (int i = 0; i < std::min(wanted, 3); ++i) {
    results[i] = {};
    results[i].state = static_cast<uint64_t>(i) == kRefused ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
    const Algorithm algorithm{static_cast<uint64_t>(i), p.alignment};
    std::memcpy(&results[i].algo, &algorithm, sizeof(algorithm));
    results[i].workspaceSize = std::min<size_t>(p.workspace, i == 0 ? 0 : 4096);
    ++*found;
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t CUBLASWINAPI matmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void* alpha, const void* a,
                                   cublasLtMatrixLayout_t la, const void* b, cublasLtMatrixLayout_t lb, const void* beta, const void* c,
                                   cublasLtMatrixLayout_t lc, void* d, cublasLtMatrixLayout_t ld, const cublasLtMatmulAlgo_t* algo, void* workspace,
                                   size_t workspace_bytes, cudaStream_t stream) {
  Algorithm algorithm{};
  std::memcpy(&algorithm, algo, sizeof(algorithm));
  if (algorithm.number == kRefused) return CUBLAS_STATUS_NOT_SUPPORTED;
  const Problem problem{of<Operation>(operation), of<Layout>(la), of<Layout>(lb), of<Layout>(lc), of<Layout>(ld)};
  const auto aligned = [&](const void* p) { return reinterpret_cast<uintptr_t>(p) % algorithm.alignment == 0; };
  if (!problem.is_possible() || !problem.has_scales() || !aligned(a) || !aligned(b) || !aligned(c) || !aligned(d)) return CUBLAS_STATUS_INVALID_VALUE;
  if (workspace_bytes && !workspace) return CUBLAS_STATUS_INVALID_VALUE;
  const float scale = *static_cast<const float*>(alpha), add = *static_cast<const float*>(beta);
  const Status status = of<HostDriver>(handle).put(reinterpret_cast<DriverStream*>(stream), [=] {
    if (workspace_bytes) std::memset(workspace, GuardedMemory::kPoison, workspace_bytes);
    multiply(problem, scale, a, b, add, c, d);
    return kSuccess;
  });
  return status == kSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

}  // namespace

std::unique_ptr<BlasLibrary> host_blas(HostDriver& driver) {
  t_opening = &driver;
  CublasLtFunctions f;
  f.create = create;
  f.destroy = destroy;
  f.version = version;
  f.matmul = matmul;
  f.create_operation = create_operation;
  f.destroy_operation = destroy_operation;
  f.set_operation = set_operation;
  f.create_layout = create_layout;
  f.destroy_layout = destroy_layout;
  f.create_preference = create_preference;
  f.destroy_preference = destroy_preference;
  f.set_preference = set_preference;
  f.heuristic = heuristic;
  return cublaslt(f);
}

}  // namespace vivace::cuda
