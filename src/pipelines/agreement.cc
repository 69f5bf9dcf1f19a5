#include "pipelines/agreement.h"

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

const CLIPTextConfig& config_of(const CLIPTextModel& model) { return static_cast<const CLIPTextComponent&>(model.component()).config(); }

// What a UNet is for whose input is more than the latents. Empty for a number that no known kind has.
const char* kind_of(int64_t channels, int64_t latent) {
  if (channels == 2 * latent + 1) return ": it is an inpainting model, which fills in a mask";
  if (channels == 2 * latent) return ": it is a model that edits a picture (InstructPix2Pix)";
  if (channels == latent + 1) return ": it is a model that takes a picture's depth";
  if (channels == latent + 3) return ": it is an upscaler";
  return "";
}

class Agreement {
 public:
  explicit Agreement(DiffusionPipeline::Parts& parts) : parts_(parts), unet_(parts.unet_component().config()), vae_(parts.vae_component().config()) {}

  void check() {
    channels();
    for (const bool second : {false, true}) tokens(second);
    if (parts_.tokenizer && parts_.tokenizer_2 && parts_.tokenizer->model_max_length() != parts_.tokenizer_2->model_max_length())
      fail(folder("tokenizer"), " makes prompts of ", parts_.tokenizer->model_max_length(), " tokens, ", folder("tokenizer_2"), " of ", parts_.tokenizer_2->model_max_length(),
           ": expected the same model_max_length in both");
    text_width();
    added_conditions();
  }

 private:
  std::string folder(const char* name) const { return parts_.path + "/" + name; }
  template <class... Args>
  [[noreturn]] void fail(const Args&... args) const { throw UserError(cat(args...)); }

  void channels() const {
    if (unet_.in_channels != vae_.latent_channels)
      fail(folder("unet"), " takes ", unet_.in_channels, " channels (in_channels) and the latents of ", folder("vae"), " have ", vae_.latent_channels, " (latent_channels)",
           kind_of(unet_.in_channels, vae_.latent_channels), "; a ", parts_.class_name, " needs a UNet that takes the latents alone");
    if (unet_.out_channels != vae_.latent_channels)
      fail(folder("unet"), " gives ", unet_.out_channels, " channels (out_channels) and the latents of ", folder("vae"), " have ", vae_.latent_channels,
           " (latent_channels): expected the same number");
    if (vae_.out_channels != 3) fail(folder("vae"), " gives pictures of ", vae_.out_channels, " channels (out_channels): expected 3 (RGB)");
  }

  // A tokenizer and its text encoder.
  void tokens(bool second) const {
    const auto& tokenizer = second ? parts_.tokenizer_2 : parts_.tokenizer;
    const auto& encoder = second ? parts_.text_encoder_2 : parts_.text_encoder;
    if (!tokenizer || !encoder) return;
    const CLIPTextConfig& config = config_of(*encoder);
    const std::string of = folder(second ? "tokenizer_2" : "tokenizer"), to = folder(second ? "text_encoder_2" : "text_encoder");
    if (tokenizer->model_max_length() > config.max_position_embeddings)
      fail(of, " makes prompts of ", tokenizer->model_max_length(), " tokens (model_max_length), ", to, " takes up to ", config.max_position_embeddings, " (max_position_embeddings)");
    for (const auto& [name, id] : {std::pair{"bos", tokenizer->bos_token_id()}, {"eos", tokenizer->eos_token_id()}, {"padding", tokenizer->pad_token_id()}})
      if (id >= config.vocab_size) fail(of, " has the ", name, " token ", id, ", ", to, " a vocab_size of ", config.vocab_size, ": expected those of one model");
  }

  void text_width() const {
    int64_t width = 0;
    std::string encoders;
    for (const auto* encoder : {&parts_.text_encoder, &parts_.text_encoder_2}) {
      if (!*encoder) continue;
      width += config_of(**encoder).hidden_size;
      encoders += cat(encoders.empty() ? "" : " and ", folder((*encoder)->component().name().c_str()));
    }
    if (width != unet_.cross_attention_dim)
      fail(encoders, encoders.find(" and ") == std::string::npos ? " gives" : " give", " prompts of width ", width, " (hidden_size), ", folder("unet"), " takes ",
           unet_.cross_attention_dim, " (cross_attention_dim): expected the parts of one model");
  }

  // SDXL's pooled prompt and sizes.
  void added_conditions() const {
    const bool takes = unet_.addition_embed_type == "text_time";
    if (takes != parts_.is_xl)
      fail(folder("unet"), takes ? " takes a pooled prompt and sizes (addition_embed_type \"text_time\"), as those of SDXL do: a " : " takes no pooled prompt and sizes (addition_embed_type): a ",
           parts_.class_name, takes ? " gives none" : " gives them");
    if (!takes) return;
    if (unet_.time_id_count != 6) fail(folder("unet"), " takes aesthetic scores (it is a refiner): it refines pictures and cannot begin one");
    const bool first = parts_.text_encoder && parts_.text_encoder->with_projection();
    const CLIPTextConfig& text = config_of(first ? *parts_.text_encoder : *parts_.text_encoder_2);
    const int64_t pooled = text.with_projection ? text.projection_dim : text.hidden_size;
    const int64_t wanted = unet_.projection_class_embeddings_input_dim - unet_.time_id_count * unet_.addition_time_embed_dim;
    if (pooled != wanted)
      fail(folder(first ? "text_encoder" : "text_encoder_2"), " gives a pooled prompt of width ", pooled, ", ", folder("unet"), " takes ", wanted,
           " (projection_class_embeddings_input_dim less ", unet_.time_id_count, " times addition_time_embed_dim): expected the parts of one model");
  }

  DiffusionPipeline::Parts& parts_;
  const UNetConfig& unet_;
  const AutoencoderKLConfig& vae_;
};

}  // namespace

void check_agreement(DiffusionPipeline::Parts& parts) { Agreement(parts).check(); }

}  // namespace vivace
