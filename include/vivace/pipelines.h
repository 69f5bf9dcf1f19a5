// The pipelines of each model family and task, by Diffusers' names. All take the arguments of pipeline.h; from_pretrained of DiffusionPipeline opens
// the class that a checkpoint names, that of a class here its own.
#pragma once

#include <filesystem>

#include "vivace/api.h"
#include "vivace/pipeline.h"

namespace vivace VIVACE_API {

class StableDiffusionXLPipeline : public DiffusionPipeline {
 public:
  // As all classes here: the class that the folder names, or another that its parts make. Throws UserError when they make no such pipeline.
  static StableDiffusionXLPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static StableDiffusionXLPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

class StableDiffusionPipeline : public DiffusionPipeline {
 public:
  static StableDiffusionPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static StableDiffusionPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

// From a picture, which says the size; also SDXL's refiner, behind a base that stopped at denoising_end.
class StableDiffusionXLImg2ImgPipeline : public DiffusionPipeline {
 public:
  static StableDiffusionXLImg2ImgPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static StableDiffusionXLImg2ImgPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

class StableDiffusionImg2ImgPipeline : public DiffusionPipeline {
 public:
  static StableDiffusionImg2ImgPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static StableDiffusionImg2ImgPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

// Repaints a picture where a mask is white, with a model made for it (9 channels) or any other (4).
class StableDiffusionXLInpaintPipeline : public DiffusionPipeline {
 public:
  static StableDiffusionXLInpaintPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static StableDiffusionXLInpaintPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

class StableDiffusionInpaintPipeline : public DiffusionPipeline {
 public:
  static StableDiffusionInpaintPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static StableDiffusionInpaintPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

// With one ControlNet or several beside the parts of the checkpoint (PretrainedOptions::controlnet).
class StableDiffusionXLControlNetPipeline : public DiffusionPipeline {
 public:
  static StableDiffusionXLControlNetPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static StableDiffusionXLControlNetPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

class StableDiffusionXLControlNetImg2ImgPipeline : public DiffusionPipeline {
 public:
  static StableDiffusionXLControlNetImg2ImgPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static StableDiffusionXLControlNetImg2ImgPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

class StableDiffusionXLControlNetInpaintPipeline : public DiffusionPipeline {
 public:
  static StableDiffusionXLControlNetInpaintPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static StableDiffusionXLControlNetInpaintPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

class StableDiffusionControlNetPipeline : public DiffusionPipeline {
 public:
  static StableDiffusionControlNetPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static StableDiffusionControlNetPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

class StableDiffusionControlNetImg2ImgPipeline : public DiffusionPipeline {
 public:
  static StableDiffusionControlNetImg2ImgPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static StableDiffusionControlNetImg2ImgPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

class StableDiffusionControlNetInpaintPipeline : public DiffusionPipeline {
 public:
  static StableDiffusionControlNetInpaintPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static StableDiffusionControlNetInpaintPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

// What the checkpoint's model is called in a task, whatever class model_index.json names: pictures from pictures, and with a mask.
struct AutoPipelineForText2Image {
  static DiffusionPipeline from_pretrained(const std::filesystem::path& path, PretrainedOptions options = {});
};
struct AutoPipelineForImage2Image {
  static DiffusionPipeline from_pretrained(const std::filesystem::path& path, PretrainedOptions options = {});
};
struct AutoPipelineForInpainting {
  static DiffusionPipeline from_pretrained(const std::filesystem::path& path, PretrainedOptions options = {});
};

// Stable Diffusion distilled to few steps: 4 by default, with a guidance_scale of 8.5 that the model takes as a condition.
class LatentConsistencyModelPipeline : public DiffusionPipeline {
 public:
  static LatentConsistencyModelPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static LatentConsistencyModelPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

// FLUX.1 dev and schnell.
class FluxPipeline : public DiffusionPipeline {
 public:
  static FluxPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static FluxPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

// FLUX.1 Kontext: edits a picture, or makes one.
class FluxKontextPipeline : public DiffusionPipeline {
 public:
  static FluxKontextPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static FluxKontextPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

// FLUX.1 from a picture.
class FluxImg2ImgPipeline : public DiffusionPipeline {
 public:
  static FluxImg2ImgPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static FluxImg2ImgPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

class AuraFlowPipeline : public DiffusionPipeline {
 public:
  static AuraFlowPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static AuraFlowPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

// CogVideoX 2b, 5b and 1.5: videos.
class CogVideoXPipeline : public DiffusionPipeline {
 public:
  static CogVideoXPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static CogVideoXPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

// CogVideoX I2V: videos that begin with a picture.
class CogVideoXImageToVideoPipeline : public DiffusionPipeline {
 public:
  static CogVideoXImageToVideoPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static CogVideoXImageToVideoPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

// CogVideoX from a video, with the models that make one from text.
class CogVideoXVideoToVideoPipeline : public DiffusionPipeline {
 public:
  static CogVideoXVideoToVideoPipeline from_pretrained(const std::filesystem::path& path, const PretrainedOptions& options = {});
  static CogVideoXVideoToVideoPipeline from_single_file(const std::filesystem::path& path, const PretrainedOptions& options = {});

 private:
  using DiffusionPipeline::DiffusionPipeline;
};

}  // namespace VIVACE_API
