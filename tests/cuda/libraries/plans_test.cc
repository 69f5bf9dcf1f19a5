// cuDNN itself, where it is: whether it has plans for the graphs that are described to it, on GPUs that are not there. It asks for a driver and runs
// nothing: what a machine lacks of one is no_gpu.c.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "backends/cuda/cudnn.h"
#include "backends/cuda/library.h"
#include "temp_folder.h"

namespace vivace::cuda {
namespace {

// As newer headers than those that are needed name them.
constexpr auto kProperties = static_cast<cudnnBackendDescriptorType_t>(38);  // CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR
constexpr auto kPropertiesText = static_cast<cudnnBackendAttributeName_t>(2702),
               kHeuristicsProperties = static_cast<cudnnBackendAttributeName_t>(204), kPlanProperties = static_cast<cudnnBackendAttributeName_t>(407);

CudnnFunctions g_real;
cudnnBackendDescriptor_t g_gpu = nullptr;  // its properties, in the place of a handle
int g_built = 0;

cudnnStatus_t CUDNNWINAPI create(cudnnHandle_t* handle) {
  *handle = reinterpret_cast<cudnnHandle_t>(&g_gpu);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t CUDNNWINAPI destroy(cudnnHandle_t) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t CUDNNWINAPI set(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                              const void* values) {
  const auto set_gpu = [&](cudnnBackendAttributeName_t as) { return g_real.set(descriptor, as, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g_gpu); };
  if (name == CUDNN_ATTR_OPERATIONGRAPH_HANDLE) return CUDNN_STATUS_SUCCESS;
  if (name == CUDNN_ATTR_EXECUTION_PLAN_HANDLE) return set_gpu(kPlanProperties);
  if (name == CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH && set_gpu(kHeuristicsProperties) != CUDNN_STATUS_SUCCESS) return CUDNN_STATUS_BAD_PARAM;
  if (name == CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG) ++g_built;
  return g_real.set(descriptor, name, type, count, values);
}

// What cuDNN knows of a GPU (tools/cudnn_device_properties.py), as far as its name, its capability, its multiprocessors and their shared memory.
std::string properties(const std::string& name, int capability, int multiprocessors, int shared) {
  return R"({"maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],"regsPerBlock":65536,"warpSize":32,)"
         R"("maxSharedMemoryPerBlock":49152,"reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,"maxCtasPerSM":32,)"
         R"("maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,"supportCoopLaunch":1,)"
         R"("totalGlobalMem":85899345920,"smClockRateKHz":1980000,"memClockRateKHz":2619000,"l2CacheSize":52428800,)"
         R"("cudaDeviceId":0,"driverVer":13000,"deviceName":")" +
         name + R"(","deviceVer":)" + std::to_string(capability) + R"(,"multiProcessorCount":)" + std::to_string(multiprocessors) +
         R"(,"maxSharedMemoryPerBlockOptin":)" + std::to_string(shared) + "}";
}

class CudnnPlans : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(::dlopen(VIVACE_NO_GPU, RTLD_NOW | RTLD_GLOBAL), nullptr) << ::dlerror();
    static const auto library = find_library({"libcudnn.so.9"}, "install cuDNN 9");
    if (!library) GTEST_SKIP() << "there is no cuDNN here";
    library->find("cudnnGetVersion", g_real.version);
    library->find("cudnnBackendCreateDescriptor", g_real.create_descriptor);
    library->find("cudnnBackendDestroyDescriptor", g_real.destroy_descriptor);
    library->find("cudnnBackendSetAttribute", g_real.set);
    library->find("cudnnBackendGetAttribute", g_real.get);
    library->find("cudnnBackendFinalize", g_real.finalize);
    const std::string gpu = properties("NVIDIA H200", 900, 132, 232448);
    if (g_real.create_descriptor(kProperties, &g_gpu) != CUDNN_STATUS_SUCCESS ||
        g_real.set(g_gpu, kPropertiesText, CUDNN_TYPE_CHAR, std::ssize(gpu), gpu.data()) != CUDNN_STATUS_SUCCESS ||
        g_real.finalize(g_gpu) != CUDNN_STATUS_SUCCESS)
      GTEST_SKIP() << "cuDNN " << g_real.version() << " knows no GPU from its properties";
  }
  std::unique_ptr<DnnLibrary> library() const {
    CudnnFunctions f = g_real;
    f.create = create;
    f.destroy = destroy;
    f.set = set;
    return cudnn(f, files_, "no GPU");
  }

  const TempFolder folder_;
  const CacheFolder files_{{.folder = folder_ / "cache", .max_bytes = uint64_t{1} << 30}};
};

// A step of SDXL: what lies inside a wider tensor, a bias of each image, an activation, a residual; and rows of queries, keys and values side by
// side.
TEST_F(CudnnPlans, AreThereForWhatIsDescribedAndComeFromTheCache) {
  const ConvolutionCall plain{.images = 2,
                              .height = 64,
                              .width = 64,
                              .channels = 640,
                              .out_height = 64,
                              .out_width = 64,
                              .out_channels = 640,
                              .kernel_height = 3,
                              .kernel_width = 3,
                              .padding = {1, 1, 1, 1},
                              .x_pitch = 1280,
                              .y_pitch = 1280,
                              .dtype = DType::bfloat16,
                              .bias = true};
  ConvolutionCall all = plain;
  all.image_bias = all.residual = true;
  all.image_bias_pitch = all.residual_pitch = 640;
  all.act = kSilu;
  constexpr int64_t kHead = 64, kHeads = 10, kRow = 3 * kHeads * kHead, kTokens = 4096;
  const AttentionCall attention{.images = 2,
                                .heads = kHeads,
                                .queries = kTokens,
                                .keys = kTokens,
                                .head_size = kHead,
                                .value_size = kHead,
                                .q_image = kTokens * kRow,
                                .k_image = kTokens * kRow,
                                .v_image = kTokens * kRow,
                                .y_image = kTokens * kHeads * kHead,
                                .q_row = kRow,
                                .k_row = kRow,
                                .v_row = kRow,
                                .y_row = kHeads * kHead,
                                .dtype = DType::bfloat16,
                                .scale = 0.125f};
  for (const bool again : {false, true}) {
    g_built = 0;
    const auto dnn = library();
    for (const ConvolutionCall& call : {plain, all}) {
      const auto convolution = dnn->convolution(call);
      ASSERT_NE(convolution, nullptr) << call.residual;
      EXPECT_LE(convolution->workspace_bytes(0), size_t{64} << 20);
    }
    EXPECT_TRUE(dnn->attention(attention) || g_real.version() < 91300) << "no attention";
    if (again)
      EXPECT_EQ(g_built, 0);
    else
      EXPECT_GE(g_built, 2);
  }
}

}  // namespace
}  // namespace vivace::cuda
