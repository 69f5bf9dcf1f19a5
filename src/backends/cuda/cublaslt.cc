#include "backends/cuda/cublaslt.h"

#include <algorithm>
#include <array>
#include <mutex>

#include "backends/cuda/library.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace::cuda {
namespace {

constexpr size_t kWorkspace = size_t{32} << 20;  // what NVIDIA recommends for Hopper; more than older ones use
constexpr uint32_t kAlignment = 16;              // of operands: slices begin at multiples of as much
constexpr int kMostAlgorithms = 8;

// The headers have these names from 12.9 on, the library knows the numbers from then on.
constexpr int kWScaleMode = 31, kXScaleMode = 32;  // CUBLASLT_MATMUL_DESC_A_SCALE_MODE, .._B_SCALE_MODE
constexpr int32_t kScaleOfEachRow = 3;             // CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F

cudaDataType_t type_of(DType dtype) {
  if (dtype == DType::float8_e4m3) return CUDA_R_8F_E4M3;
  return dtype == DType::float32 ? CUDA_R_32F : dtype == DType::bfloat16 ? CUDA_R_16BF : CUDA_R_16F;
}

cublasLtEpilogue_t epilogue_of(const MatmulCall& call) {
  switch (call.act) {
    case kRelu:
      return call.bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
    case kGeluTanh:
      return call.bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
    case kIdentity:
      return call.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    default:
      throw InternalError(cat("cuBLASLt has no epilogue for activation ", int{call.act}));
  }
}

class CublasLt final : public BlasLibrary {
 public:
  explicit CublasLt(const CublasLtFunctions& functions) : f(functions) {
    if (const cublasStatus_t status = f.create(&handle); status != CUBLAS_STATUS_SUCCESS)
      throw UserError(cat("cuda: ", version(), " cannot be opened, with status ", static_cast<int>(status)));
  }
  ~CublasLt() override { f.destroy(handle); }

  std::string version() const override { return cat("cuBLASLt ", f.version()); }
  std::shared_ptr<const Matmul> matmul(const MatmulCall& call) override;

  const CublasLtFunctions f;
  cublasLtHandle_t handle = nullptr;
};

// cuBLASLt's matrices are column-major: a row-major one is its transpose there. y^T [columns, rows] = (w^T)^T x^T, so that w comes first, transposed,
// and the bias, a value a row of y^T, is one a column of y.
class CublasLtMatmul final : public Matmul {
 public:
  CublasLtMatmul(const CublasLt& lt, const MatmulCall& call) : lt_(lt), call_(call) {
    const auto& f = lt_.f;
    const auto x = type_of(call.x), y = type_of(call.y);
    require(f.create_operation(&operation_, call.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F));
    set(operation_, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    set(operation_, CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N);
    set(operation_, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(call));
    if (call.bias) set(operation_, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, y);
    if (is_scaled()) {
      for (const int which : {kWScaleMode, kXScaleMode})
        if (f.set_operation(operation_, static_cast<cublasLtMatmulDescAttributes_t>(which), &kScaleOfEachRow, sizeof(kScaleOfEachRow)) !=
            CUBLAS_STATUS_SUCCESS)
          return;
      // The heuristic may look at whether there are scales; where they lie, each run says.
      alignas(256) static constexpr float kAny = 1;
      set_scales({.x_scales = &kAny, .w_scales = &kAny});
    }
    const auto columns = static_cast<uint64_t>(call.columns), rows = static_cast<uint64_t>(call.rows), k = static_cast<uint64_t>(call.k);
    require(f.create_layout(&w_, x, k, columns, call.w_pitch));
    require(f.create_layout(&x_, x, k, rows, call.x_pitch));
    require(f.create_layout(&y_, y, columns, rows, call.y_pitch));
    require(f.create_layout(&residual_, y, columns, rows, call.residual ? call.residual_pitch : call.y_pitch));
    cublasLtMatmulPreference_t preference = nullptr;
    require(f.create_preference(&preference));
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspace);
    for (auto which : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                       CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      set(preference, which, kAlignment);
    const cublasStatus_t status =
        f.heuristic(lt_.handle, operation_, w_, x_, residual_, y_, preference, kMostAlgorithms, results_.data(), &algorithms_);
    f.destroy_preference(preference);
    if (status != CUBLAS_STATUS_SUCCESS) algorithms_ = 0;
    const auto last = std::remove_if(results_.begin(), results_.begin() + algorithms_,
                                     [](const cublasLtMatmulHeuristicResult_t& result) { return result.state != CUBLAS_STATUS_SUCCESS; });
    algorithms_ = static_cast<int>(last - results_.begin());
  }
  ~CublasLtMatmul() override {
    for (cublasLtMatrixLayout_t layout : {w_, x_, y_, residual_})
      if (layout) lt_.f.destroy_layout(layout);
    if (operation_) lt_.f.destroy_operation(operation_);
  }

  int algorithms() const override { return algorithms_; }
  size_t workspace_bytes(int algorithm) const override { return results_[static_cast<size_t>(algorithm)].workspaceSize; }

  std::string run(int algorithm, const Addresses& a, DriverStream* stream) const override {
    // The addresses of bias and scales are parts of the operation.
    std::unique_lock lock(mutex_, std::defer_lock);
    if (call_.bias || is_scaled()) lock.lock();
    if (call_.bias) lt_.f.set_operation(operation_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &a.bias, sizeof(a.bias));
    if (is_scaled()) set_scales(a);
    const float one = 1, beta = call_.residual ? 1 : 0;
    const auto& result = results_[static_cast<size_t>(algorithm)];
    const cublasStatus_t status = lt_.f.matmul(lt_.handle, operation_, &one, a.w, w_, a.x, x_, &beta, call_.residual ? a.residual : a.y, residual_,
                                               a.y, y_, &result.algo, a.workspace, result.workspaceSize, reinterpret_cast<cudaStream_t>(stream));
    return status == CUBLAS_STATUS_SUCCESS ? "" : cat("cuBLASLt's status ", static_cast<int>(status));
  }

 private:
  bool is_scaled() const { return call_.x == DType::float8_e4m3; }
  void set_scales(const Addresses& a) const {
    lt_.f.set_operation(operation_, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &a.w_scales, sizeof(a.w_scales));
    lt_.f.set_operation(operation_, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &a.x_scales, sizeof(a.x_scales));
  }
  static void require(cublasStatus_t status) {
    if (status != CUBLAS_STATUS_SUCCESS) throw InternalError(cat("cuda: cuBLASLt refuses a description with status ", static_cast<int>(status)));
  }
  template <class T>
  void set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t which, T value) {
    require(lt_.f.set_operation(operation, which, &value, sizeof(value)));
  }
  template <class T>
  void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t which, T value) {
    require(lt_.f.set_preference(preference, which, &value, sizeof(value)));
  }

  const CublasLt& lt_;
  const MatmulCall call_;
  mutable std::mutex mutex_;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t w_ = nullptr, x_ = nullptr, y_ = nullptr, residual_ = nullptr;
  std::array<cublasLtMatmulHeuristicResult_t, kMostAlgorithms> results_{};
  int algorithms_ = 0;
};

std::shared_ptr<const Matmul> CublasLt::matmul(const MatmulCall& call) {
  auto made = std::make_shared<const CublasLtMatmul>(*this, call);
  return made->algorithms() > 0 ? made : nullptr;
}

}  // namespace

std::unique_ptr<BlasLibrary> cublaslt(const CublasLtFunctions& functions) { return std::make_unique<CublasLt>(functions); }

std::unique_ptr<BlasLibrary> find_cublaslt(int driver) {
  static const std::unique_ptr<const Library> library = find_library(names_by_toolkit("libcublasLt.so", driver), "install cuBLAS");
  if (!library) return nullptr;
  CublasLtFunctions f;
  library->find("cublasLtCreate", f.create);
  library->find("cublasLtDestroy", f.destroy);
  library->find("cublasLtGetVersion", f.version);
  library->find("cublasLtMatmul", f.matmul);
  library->find("cublasLtMatmulDescCreate", f.create_operation);
  library->find("cublasLtMatmulDescDestroy", f.destroy_operation);
  library->find("cublasLtMatmulDescSetAttribute", f.set_operation);
  library->find("cublasLtMatrixLayoutCreate", f.create_layout);
  library->find("cublasLtMatrixLayoutDestroy", f.destroy_layout);
  library->find("cublasLtMatmulPreferenceCreate", f.create_preference);
  library->find("cublasLtMatmulPreferenceDestroy", f.destroy_preference);
  library->find("cublasLtMatmulPreferenceSetAttribute", f.set_preference);
  library->find("cublasLtMatmulAlgoGetHeuristic", f.heuristic);
  return cublaslt(f);
}

}  // namespace vivace::cuda
