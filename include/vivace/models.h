// The components of a checkpoint, callable on their own. Images and latents are NCHW, as in Diffusers.
// A component prepares itself for each size it is called with and remembers it. Several threads may call it at once; compiling and whatever else
// changes it is for when no call is under way. Components of one checkpoint share prepared weights.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "vivace/api.h"
#include "vivace/cache.h"
#include "vivace/compile.h"
#include "vivace/tensor.h"

namespace vivace VIVACE_API {

class Component;  // the inside of a model

struct ModelOptions {
  DType dtype = float32;  // of activations and prepared weights: float32, bfloat16 or float16
  std::string variant;    // "fp16": files named *.fp16.safetensors
  CompileOptions compile;
  CacheOptions cache;
  // What sizes that were called before may keep of their activations' memory for the next call; the last one called keeps its own.
  size_t idle_bytes = size_t{256} << 20;
  std::string device = "cpu";  // what it runs on: "cpu", "cuda", "cuda:1"
};

// What all models share.
class Model {
 public:
  Model(Model&&) noexcept;
  explicit Model(std::unique_ptr<Component> component);
  Model& operator=(Model&&) noexcept;
  virtual ~Model();

  // Compiles from the next call on: torch.compile's modes and options. Projections fused before stay fused.
  void compile(const CompileOptions& options);
  // The projections of an attention that read the same value become one GEMM: Q, K, V of self-attention, K, V of cross-attention. The same result to
  // rounding. Compiling does it as well: with a mode other than off, unfusing leaves them to the pass fuse_projections.
  void fuse_qkv_projections();
  void unfuse_qkv_projections();
  // Regional compilation: each kind of the model's repeated blocks is compiled once and the result takes the place of every occurrence; what lies
  // around them stays eager. A mode of off means default_ here. Throws UsageError for a model that lists no repeated blocks, as Diffusers does.
  void compile_repeated_blocks(CompileOptions options = {.mode = CompileMode::default_});
  // The same with whatever repeats in the graph.
  void compile_regions(CompileOptions options = {.mode = CompileMode::default_});
  // Runs on "cpu", "cuda" or "cuda:1" from the next call on; what it was compiled with stays. Throws UsageError for a name that is none, UserError
  // where this machine lacks it.
  void to(const std::string& device);
  DType dtype() const;
  int64_t num_parameters() const;
  Component& component() { return *component_; }
  const Component& component() const { return *component_; }

 protected:
  std::unique_ptr<Component> component_;
};

// Extra conditioning of SDXL: text_embeds [N, P], time_ids [N, K].
struct AddedCondKwargs {
  Tensor text_embeds, time_ids;
};

class UNet2DConditionModel : public Model {
 public:
  using Model::Model;
  // `path`: the unet folder of a checkpoint. Throws UserError that names the file, field or tensor at fault.
  static UNet2DConditionModel from_pretrained(const std::filesystem::path& path, const ModelOptions& options = {});
  // sample [N, C, H, W], one timestep, encoder_hidden_states [N, T, D] -> the model's prediction, float32 [N, out, H, W].
  Tensor operator()(const Tensor& sample, float timestep, const Tensor& encoder_hidden_states, const AddedCondKwargs& added = {},
                    const Tensor& timestep_cond = {}) const;
  // The size it was made for, height and width in latent pixels; input channels.
  std::pair<int64_t, int64_t> sample_size() const;
  int64_t in_channels() const;
};

// What a UNet adds to its own, from a picture that says where things are.
class ControlNetModel : public Model {
 public:
  using Model::Model;
  static ControlNetModel from_pretrained(const std::filesystem::path& path, const ModelOptions& options = {});
  struct Residuals {
    std::vector<Tensor> down;  // float32 [N, C, H, W], for the UNet's skips in their order
    Tensor mid;
  };
  // As the UNet is called, with controlnet_cond [N, 3, height, width] in pixels, 0..1.
  Residuals operator()(const Tensor& sample, float timestep, const Tensor& encoder_hidden_states, const Tensor& controlnet_cond,
                       double conditioning_scale = 1, const AddedCondKwargs& added = {}) const;
};

// A VAE of any class. Of a video all shapes have frames behind the channels: [N, C, F, h, w] and [N, 3, frames, H, W].
class Autoencoder : public Model {
 public:
  using Model::Model;
  // latents [N, C, h, w], divided by the scaling factor already -> float32 [N, 3, H, W], about -1..1.
  Tensor decode(const Tensor& latents) const;
  // compile() for one of the two alone.
  void compile_decode(const CompileOptions& options);
  void compile_encode(const CompileOptions& options);
  struct Posterior {
    Tensor mean, logvar;  // float32 [N, C, h, w]; mode() is the mean, and all there is of an AutoencoderTiny
  };
  // sample [N, 3, H, W] in -1..1.
  Posterior encode(const Tensor& sample) const;
  // Whatever is larger than a tile is encoded and decoded in tiles, whose overlapping edges are blended as Diffusers blends them: the memory is that
  // of one tile. A tile is as large as what the VAE was trained on (sample_size; of an AutoencoderTiny 512). Not while a call is under way.
  void enable_tiling();
  void disable_tiling();
  // A batch is encoded and decoded image by image, as pipelines always do.
  void enable_slicing();
  void disable_slicing();
  double scaling_factor() const;
  // Image pixels a latent pixel.
  int64_t scale() const;
};

class AutoencoderKL : public Autoencoder {
 public:
  using Autoencoder::Autoencoder;
  static AutoencoderKL from_pretrained(const std::filesystem::path& path, const ModelOptions& options = {});
};

class AutoencoderTiny : public Autoencoder {
 public:
  using Autoencoder::Autoencoder;
  static AutoencoderTiny from_pretrained(const std::filesystem::path& path, const ModelOptions& options = {});
};

// Of videos: F latent frames are 4 F - 3 frames of a video where F is odd and 4 F where it is even. Both ways go in batches of frames, which change
// the result, so they are those of Diffusers: 2 latent frames and 8 frames, and the first batch takes the rest.
class AutoencoderKLCogVideoX : public Autoencoder {
 public:
  using Autoencoder::Autoencoder;
  static AutoencoderKLCogVideoX from_pretrained(const std::filesystem::path& path, const ModelOptions& options = {});
  // The least size, in pixels, that takes several tiles, which is a tile's, and what of it two tiles share. At first half of the video that the VAE
  // was trained on, 1/6 of the height and 1/5 of the width.
  void enable_tiling(std::optional<int64_t> tile_sample_min_height = {}, std::optional<int64_t> tile_sample_min_width = {},
                     std::optional<double> tile_overlap_factor_height = {}, std::optional<double> tile_overlap_factor_width = {});
};

struct CLIPTextModelOutput {
  Tensor last_hidden_state;    // float32 [N, T, C], behind the final norm
  Tensor hidden_state;         // hidden_states[-1 - skip], before it
  Tensor hidden_state_normed;  // the same behind it
  Tensor pooler_output;        // [N, C]
  Tensor text_embeds;          // [N, P], CLIPTextModelWithProjection alone
};

class CLIPTextModel : public Model {
 public:
  using Model::Model;
  static CLIPTextModel from_pretrained(const std::filesystem::path& path, const ModelOptions& options = {});
  // input_ids int32 [N, T]; skip 1 gives the penultimate hidden state.
  CLIPTextModelOutput operator()(const Tensor& input_ids, int skip = 1) const;
  bool with_projection() const;
};

class T5EncoderModel : public Model {
 public:
  using Model::Model;
  // A T5EncoderModel or a UMT5EncoderModel.
  static T5EncoderModel from_pretrained(const std::filesystem::path& path, const ModelOptions& options = {});
  // input_ids int32 [N, T]; attention_mask [N, T], 1 for tokens to be seen, without one all are -> last_hidden_state, float32 [N, T, C].
  Tensor operator()(const Tensor& input_ids, const Tensor& attention_mask = {}) const;
};

class FluxTransformer2DModel : public Model {
 public:
  using Model::Model;
  static FluxTransformer2DModel from_pretrained(const std::filesystem::path& path, const ModelOptions& options = {});
  // Packed latents hidden_states [N, S, in], encoder_hidden_states [N, T, D], pooled_projections [N, P], one timestep (0..1), img_ids [S, 3], txt_ids
  // [T, 3], guidance [N] for a model that takes it -> float32 [N, S, out].
  Tensor operator()(const Tensor& hidden_states, const Tensor& encoder_hidden_states, const Tensor& pooled_projections, float timestep,
                    const Tensor& img_ids, const Tensor& txt_ids, const Tensor& guidance = {}) const;
};

class AuraFlowTransformer2DModel : public Model {
 public:
  using Model::Model;
  static AuraFlowTransformer2DModel from_pretrained(const std::filesystem::path& path, const ModelOptions& options = {});
  // hidden_states [N, C, H, W], encoder_hidden_states [N, T, D], one timestep (0..1) -> float32 [N, out, H, W].
  Tensor operator()(const Tensor& hidden_states, const Tensor& encoder_hidden_states, float timestep) const;
};

class CogVideoXTransformer3DModel : public Model {
 public:
  using Model::Model;
  static CogVideoXTransformer3DModel from_pretrained(const std::filesystem::path& path, const ModelOptions& options = {});
  // hidden_states [N, F, C, H, W], encoder_hidden_states [N, T, D], one timestep -> float32 [N, F, out, H, W]. The places of its patches, which are
  // Diffusers' argument image_rotary_emb, follow from the size; `ofs` is read by models that have an embedding of it.
  Tensor operator()(const Tensor& hidden_states, const Tensor& encoder_hidden_states, float timestep, float ofs = 2) const;
};

}  // namespace VIVACE_API
