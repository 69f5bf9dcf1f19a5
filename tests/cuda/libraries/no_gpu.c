// libcuda.so.1 of a GPU that is none, as far as the backend's driver asks it, and cuDNN while it builds plans: memory is the host's, all that is put
// on streams is taken, and nothing is done.
#include <stdlib.h>
#include <string.h>

static int g_any[64];

#define TAKES(name) \
  int name(void) { return 0; }
TAKES(cuCtxGetCurrent)
TAKES(cuCtxGetDevice)
TAKES(cuCtxGetLimit)
TAKES(cuCtxPopCurrent)
TAKES(cuCtxPushCurrent)
TAKES(cuDevicePrimaryCtxRelease)
TAKES(cuDevicePrimaryCtxReset)
TAKES(cuFuncSetAttribute)
TAKES(cuKernelSetAttribute)
TAKES(cuLaunchCooperativeKernel)
TAKES(cuLaunchKernel)
TAKES(cuLaunchKernelEx)
TAKES(cuLibraryUnload)
TAKES(cuLinkAddData)
TAKES(cuLinkAddData_v2)
TAKES(cuLinkAddFile_v2)
TAKES(cuLinkComplete)
TAKES(cuLinkCreate)
TAKES(cuLinkCreate_v2)
TAKES(cuLinkDestroy)
TAKES(cuMemcpyDtoH_v2)
TAKES(cuModuleUnload)
TAKES(cuStreamGetCtx)
TAKES(cuStreamSynchronize)
TAKES(cuTensorMapEncodeTiled)
TAKES(cuCtxSetCurrent)
TAKES(cuDevicePrimaryCtxRelease_v2)
TAKES(cuEventDestroy_v2)
TAKES(cuEventQuery)
TAKES(cuEventRecord)
TAKES(cuEventSynchronize)
TAKES(cuGraphDestroy)
TAKES(cuGraphExecDestroy)
TAKES(cuGraphLaunch)
TAKES(cuMemPoolSetAttribute)
TAKES(cuMemPoolTrimTo)
TAKES(cuMemcpyDtoDAsync_v2)
TAKES(cuMemcpyDtoHAsync_v2)
TAKES(cuMemcpyHtoDAsync_v2)
TAKES(cuStreamBeginCapture_v2)
TAKES(cuStreamDestroy_v2)
TAKES(cuStreamWaitEvent)

#define GIVES(name)    \
  int name(void** p) { \
    *p = g_any;        \
    return 0;          \
  }
GIVES(cuDeviceGetDefaultMemPool)
GIVES(cuDevicePrimaryCtxRetain)
GIVES(cuEventCreate)
GIVES(cuGraphInstantiateWithFlags)
GIVES(cuLibraryGetKernel)
GIVES(cuLibraryLoadData)
GIVES(cuLibraryLoadFromFile)
GIVES(cuModuleGetFunction)
GIVES(cuModuleGetGlobal_v2)
GIVES(cuModuleLoadData)
GIVES(cuModuleLoadDataEx)
GIVES(cuModuleLoadFatBinary)
GIVES(cuStreamCreate)

#define TELLS(name, number) \
  int name(int* p) {        \
    *p = number;            \
    return 0;               \
  }
TELLS(cuDeviceGet, 0)
TELLS(cuDeviceGetCount, 1)
TELLS(cuDriverGetVersion, 13000)
TELLS(cuFuncGetAttribute, 128)
TELLS(cuKernelGetAttribute, 128)
TELLS(cuOccupancyMaxActiveBlocksPerMultiprocessor, 1)
TELLS(cuOccupancyMaxPotentialClusterSize, 8)

#define SAYS(name)                       \
  int name(int status, const char** p) { \
    (void)status;                        \
    *p = "no GPU";                       \
    return 0;                            \
  }
SAYS(cuGetErrorName)
SAYS(cuGetErrorString)

enum { kNotSupported = 801, kMemory = 1 << 30 };
int cuInit(unsigned flags) {
  (void)flags;
  return 0;
}
int cuGetExportTable(void) { return kNotSupported; }
int cuDeviceGetName(char* name, int bytes, int device) {
  (void)device;
  strncpy(name, "no GPU", (size_t)bytes);
  return 0;
}
int cuDeviceTotalMem_v2(size_t* bytes, int device) {
  (void)device;
  *bytes = kMemory;
  return 0;
}
int cuDeviceGetAttribute(int* value, int attribute, int device) {
  enum { kMultiprocessors = 16, kThreadsOfOne = 39, kMajor = 75, kMinor = 76 };
  (void)device;
  *value = attribute == kMultiprocessors ? 132 : attribute == kThreadsOfOne ? 2048 : attribute == kMajor ? 9 : 0;
  return 0;
}
int cuMemGetInfo_v2(size_t* left, size_t* total) {
  *left = *total = kMemory;
  return 0;
}
int cuMemPoolGetAttribute(void* pool, int attribute, unsigned long long* value) {
  (void)pool, (void)attribute;
  *value = 0;
  return 0;
}
int cuMemAllocAsync(void** memory, size_t bytes, void* stream) {
  (void)stream;
  *memory = malloc(bytes);
  return 0;
}
int cuMemFreeAsync(void* memory, void* stream) {
  (void)stream;
  free(memory);
  return 0;
}
int cuMemHostAlloc(void** memory, size_t bytes, unsigned flags) {
  (void)flags;
  *memory = malloc(bytes);
  return 0;
}
int cuMemFreeHost(void* memory) {
  free(memory);
  return 0;
}
int cuStreamEndCapture(void* stream, void** graph) {
  (void)stream;
  *graph = g_any;
  return 0;
}
