// Vivace for programs in C, and for languages that call C.
//
// No exception leaves these functions. Those that can fail return a VivaceStatus; what went wrong is then vivace_last_error() of the same thread.
// Handles are opaque, and freed by the function of their name; NULL may be freed. Texts are UTF-8 and end in a zero byte.
//
// Structs that a caller fills begin with their size, so that a library which knows more fields takes the struct of a program which knows fewer:
// initialise them with the macro of their name, which sets the size and every default, and then set what is to differ. The macros tell the functions
// behind them the size that the struct has in the program; a language without macros calls these.
#ifndef VIVACE_C_H
#define VIVACE_C_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define VIVACE_C_API __attribute__((visibility("default")))
#else
#define VIVACE_C_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum VivaceStatus {
  VIVACE_OK = 0,
  VIVACE_INPUT = 1,        // a file, a config, a full disk: the input is at fault
  VIVACE_USAGE = 2,        // an argument is out of range or unknown
  VIVACE_INTERRUPTED = 3,  // it was stopped, as a callback or a VivaceStop asked for
  VIVACE_MEMORY = 4,       // there was none left
  VIVACE_INTERNAL = 5      // a bug in Vivace
} VivaceStatus;

typedef struct VivacePipeline VivacePipeline;
typedef struct VivaceImage VivaceImage;
typedef struct VivaceOutput VivaceOutput;
typedef struct VivaceStop VivaceStop;

// Of the library that runs: "0.1.0".
VIVACE_C_API const char* vivace_version(void);
// One line about the last call of this thread that failed; "" before the first. It stays until the next that fails.
VIVACE_C_API const char* vivace_last_error(void);
// Threads that everything runs on; below 1: the default, the cores that this process may run on.
VIVACE_C_API void vivace_set_num_threads(int n);

// How a pipeline is loaded, as PretrainedOptions of vivace/pipeline.h. NULL: the default.
typedef struct VivacePretrainedOptions {
  size_t size;
  const char* dtype;           // "float32", "bfloat16", "float16"
  const char* compile;         // "off", "default", "max-autotune"
  const char* variant;         // of the weight files: "fp16"
  const char* pipeline_class;  // to open the checkpoint as: "StableDiffusionXLInpaintPipeline"
  const char* scheduler;       // "euler", "DPMSolverMultistepScheduler"
  uint64_t max_memory;         // bytes; 0: what the machine has left
  int cache;                   // 0: nothing is kept on disk between runs; 1 at first
} VivacePretrainedOptions;
VIVACE_C_API void vivace_pretrained_options_init(VivacePretrainedOptions* options, size_t size);
#define vivace_pretrained_options(options) vivace_pretrained_options_init(options, sizeof *(options))

// A checkpoint: a folder in Diffusers layout, one file, or a package. `options` may be NULL.
VIVACE_C_API VivaceStatus vivace_pipeline_load(const char* path, const VivacePretrainedOptions* options, VivacePipeline** pipeline);
// When no call is under way.
VIVACE_C_API void vivace_pipeline_free(VivacePipeline* pipeline);
// "StableDiffusionXLPipeline"; lives as long as the pipeline.
VIVACE_C_API const char* vivace_pipeline_class_name(const VivacePipeline* pipeline);
// These two, when no call is under way. `name` may be NULL.
VIVACE_C_API VivaceStatus vivace_pipeline_load_lora_weights(VivacePipeline* pipeline, const char* path, const char* name);
VIVACE_C_API VivaceStatus vivace_pipeline_set_adapters(VivacePipeline* pipeline, const char* const* names, const double* weights, size_t count);

// 8-bit RGB rows from the top, height * width * 3 bytes, which are copied.
VIVACE_C_API VivaceStatus vivace_image_from_pixels(int height, int width, const uint8_t* rgb, VivaceImage** image);
// A PNG or JPEG file.
VIVACE_C_API VivaceStatus vivace_image_load(const char* path, VivaceImage** image);
VIVACE_C_API void vivace_image_free(VivaceImage* image);
VIVACE_C_API int vivace_image_height(const VivaceImage* image);
VIVACE_C_API int vivace_image_width(const VivaceImage* image);
// Into `rgb`, which has room for height * width * 3 bytes.
VIVACE_C_API VivaceStatus vivace_image_pixels(const VivaceImage* image, uint8_t* rgb);
// float32, height * width * 3 values from 0 to 1, as they were made; live as long as the image.
VIVACE_C_API const float* vivace_image_values(const VivaceImage* image);
// By the extension: .png or .npy. The file appears whole or not at all.
VIVACE_C_API VivaceStatus vivace_image_save(const VivaceImage* image, const char* path);

// What stops calls, from any thread, once it was requested.
VIVACE_C_API VivaceStatus vivace_stop_new(VivaceStop** stop);
VIVACE_C_API void vivace_stop_request(VivaceStop* stop);
VIVACE_C_API void vivace_stop_free(VivaceStop* stop);

// How far a call is, after each step.
typedef struct VivaceProgress {
  size_t size;
  int step, num_steps;  // taken, and in all
  float timestep;
  double seconds;        // that the step took
  const float* latents;  // float32 of this shape; lives as long as the callback runs
  const int64_t* shape;
  int rank;
} VivaceProgress;

// What a callback wants of the call.
typedef enum VivaceNext {
  VIVACE_CONTINUE = 0,
  VIVACE_FINISH = 1,  // no further steps: the picture is decoded as it is
  VIVACE_CANCEL = 2   // no picture: the call ends with VIVACE_INTERRUPTED
} VivaceNext;

// What is drawn, as CallOptions of vivace/pipeline.h, whose names these are; one that the pipeline does not take is VIVACE_USAGE. 0, NULL and -1
// (where 0 is a value) mean the default.
typedef struct VivaceCallOptions {
  size_t size;
  const char* negative_prompt;
  int64_t height, width;
  int num_inference_steps;
  double guidance_scale;  // -1
  double true_cfg_scale;  // -1
  double strength;        // -1
  int num_images_per_prompt;
  int has_seed;  // 0: a random one, which vivace_output_seed tells
  uint64_t seed;
  const VivaceImage* image;                                           // to begin with, or to edit
  const VivaceImage* mask_image;                                      // white is repainted
  VivaceNext (*on_step)(const VivaceProgress* progress, void* data);  // on the thread that called
  void* data;                                                         // for on_step
  const VivaceStop* stop;                                             // to be stopped before the next kernel; may be freed while the call runs
} VivaceCallOptions;
VIVACE_C_API void vivace_call_options_init(VivaceCallOptions* options, size_t size);
#define vivace_call_options(options) vivace_call_options_init(options, sizeof *(options))

// Draws. Several threads may call one pipeline at once. `options` may be NULL.
VIVACE_C_API VivaceStatus vivace_pipeline_call(const VivacePipeline* pipeline, const char* prompt, const VivaceCallOptions* options,
                                               VivaceOutput** output);
VIVACE_C_API void vivace_output_free(VivaceOutput* output);
VIVACE_C_API size_t vivace_output_count(const VivaceOutput* output);
// Live as long as the output; NULL for an index that there is none of.
VIVACE_C_API const VivaceImage* vivace_output_image(const VivaceOutput* output, size_t index);
// The call's, which draws all of its images one after the other; 0 for an index that there is none of.
VIVACE_C_API uint64_t vivace_output_seed(const VivaceOutput* output, size_t index);

#ifdef __cplusplus
}
#endif

#endif
