// What of libcuda the driver calls, found at run time.
#pragma once

#include <cuda.h>

#include "backends/cuda/library.h"

namespace vivace::cuda {

struct DriverFunctions {
  Library library{"cuda", {"libcuda.so.1"}, "this machine has no NVIDIA driver, use --device cpu"};
  decltype(&::cuInit) init;
  decltype(&::cuGetErrorString) explain;
  decltype(&::cuDriverGetVersion) version;
  decltype(&::cuDeviceGetCount) count;
  decltype(&::cuDeviceGet) device;
  decltype(&::cuDeviceGetName) name;
  decltype(&::cuDeviceGetAttribute) attribute;
  decltype(&::cuDeviceTotalMem) total;
  decltype(&::cuDevicePrimaryCtxRetain) retain;
  decltype(&::cuDevicePrimaryCtxRelease) release;
  decltype(&::cuCtxSetCurrent) set_current;
  decltype(&::cuDeviceGetDefaultMemPool) pool;
  decltype(&::cuMemPoolSetAttribute) set_pool;
  decltype(&::cuMemPoolGetAttribute) get_pool;
  decltype(&::cuMemPoolTrimTo) trim;
  decltype(&::cuMemAllocAsync) allocate;
  decltype(&::cuMemFreeAsync) free;
  decltype(&::cuMemHostAlloc) allocate_host;
  decltype(&::cuMemFreeHost) free_host;
  decltype(&::cuMemGetInfo) memory;
  decltype(&::cuStreamCreate) create_stream;
  decltype(&::cuStreamDestroy) destroy_stream;
  decltype(&::cuStreamSynchronize) synchronize_stream;
  decltype(&::cuStreamWaitEvent) wait_event;
  decltype(&::cuEventCreate) create_event;
  decltype(&::cuEventDestroy) destroy_event;
  decltype(&::cuEventRecord) record;
  decltype(&::cuEventSynchronize) synchronize_event;
  decltype(&::cuEventQuery) query_event;
  decltype(&::cuMemcpyHtoDAsync) to_device;
  decltype(&::cuMemcpyDtoHAsync) to_host;
  decltype(&::cuMemcpyDtoDAsync) within;
  decltype(&::cuModuleLoadData) load;
  decltype(&::cuModuleUnload) unload;
  decltype(&::cuModuleGetFunction) function;
  decltype(&::cuFuncSetAttribute) set_attribute;
  decltype(&::cuLaunchKernel) launch;
  decltype(&::cuStreamBeginCapture) begin_capture;
  decltype(&::cuStreamEndCapture) end_capture;
  decltype(&::cuGraphInstantiate) instantiate;
  decltype(&::cuGraphDestroy) destroy_graph;
  decltype(&::cuGraphExecDestroy) destroy_exec;
  decltype(&::cuGraphLaunch) launch_graph;

  DriverFunctions() {
// The header names the versions of functions by macros: what is looked up is what these say.
#define NAME(function) #function
#define NAME_OF(function) NAME(function)
#define TAKE(member, function) library.find(NAME_OF(function), member)
    TAKE(init, cuInit);
    TAKE(explain, cuGetErrorString);
    TAKE(version, cuDriverGetVersion);
    TAKE(count, cuDeviceGetCount);
    TAKE(device, cuDeviceGet);
    TAKE(name, cuDeviceGetName);
    TAKE(attribute, cuDeviceGetAttribute);
    TAKE(total, cuDeviceTotalMem);
    TAKE(retain, cuDevicePrimaryCtxRetain);
    TAKE(release, cuDevicePrimaryCtxRelease);
    TAKE(set_current, cuCtxSetCurrent);
    TAKE(pool, cuDeviceGetDefaultMemPool);
    TAKE(set_pool, cuMemPoolSetAttribute);
    TAKE(get_pool, cuMemPoolGetAttribute);
    TAKE(trim, cuMemPoolTrimTo);
    TAKE(allocate, cuMemAllocAsync);
    TAKE(free, cuMemFreeAsync);
    TAKE(allocate_host, cuMemHostAlloc);
    TAKE(free_host, cuMemFreeHost);
    TAKE(memory, cuMemGetInfo);
    TAKE(create_stream, cuStreamCreate);
    TAKE(destroy_stream, cuStreamDestroy);
    TAKE(synchronize_stream, cuStreamSynchronize);
    TAKE(wait_event, cuStreamWaitEvent);
    TAKE(create_event, cuEventCreate);
    TAKE(destroy_event, cuEventDestroy);
    TAKE(record, cuEventRecord);
    TAKE(synchronize_event, cuEventSynchronize);
    TAKE(query_event, cuEventQuery);
    TAKE(to_device, cuMemcpyHtoDAsync);
    TAKE(to_host, cuMemcpyDtoHAsync);
    TAKE(within, cuMemcpyDtoDAsync);
    TAKE(load, cuModuleLoadData);
    TAKE(unload, cuModuleUnload);
    TAKE(function, cuModuleGetFunction);
    TAKE(set_attribute, cuFuncSetAttribute);
    TAKE(launch, cuLaunchKernel);
    TAKE(begin_capture, cuStreamBeginCapture);
    TAKE(end_capture, cuStreamEndCapture);
    TAKE(instantiate, cuGraphInstantiate);
    TAKE(destroy_graph, cuGraphDestroy);
    TAKE(destroy_exec, cuGraphExecDestroy);
    TAKE(launch_graph, cuGraphLaunch);
#undef TAKE
#undef NAME_OF
#undef NAME
  }
};

}  // namespace vivace::cuda
