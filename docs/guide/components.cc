// Graph breaks: components called on their own, each compiled whole, in a denoising loop of one's own
#include <vivace/vivace.h>

#include <vector>
using namespace vivace;

// [1, T, A] and [1, T, B] -> [1, T, A + B]
Tensor concat_features(const Tensor& a, const Tensor& b) {
  std::vector<float> both;
  for (int64_t t = 0; t < a.dim(1); ++t) {
    both.insert(both.end(), a.as<float>() + t * a.dim(2), a.as<float>() + (t + 1) * a.dim(2));
    both.insert(both.end(), b.as<float>() + t * b.dim(2), b.as<float>() + (t + 1) * b.dim(2));
  }
  return Tensor::from({1, a.dim(1), a.dim(2) + b.dim(2)}, both);
}

int main() {
  auto pipeline = StableDiffusionXLPipeline::from_pretrained("stable-diffusion-xl-base-1.0", {.compile = {.fullgraph = true}});
  auto& unet = pipeline.unet();
  auto& vae = pipeline.vae();
  auto& scheduler = pipeline.scheduler();

  auto prompt = "Astronaut in a jungle, cold color palette, muted colors, detailed, 8k";
  auto first = pipeline.text_encoder()(pipeline.tokenize(prompt, 1));
  auto second = pipeline.text_encoder_2()(pipeline.tokenize(prompt, 2));
  auto prompt_embeds = concat_features(first.hidden_state, second.hidden_state);
  auto [height, width] = pipeline.default_size();
  auto h = static_cast<float>(height), w = static_cast<float>(width);
  AddedCondKwargs added{.text_embeds = second.text_embeds, .time_ids = Tensor::from({h, w, 0, 0, h, w}).reshape({1, 6})};

  scheduler.set_timesteps(30);
  auto latents = Generator(7).randn({1, unet.in_channels(), height / vae.scale(), width / vae.scale()});
  for (float& x : latents.floats()) x *= scheduler.init_noise_sigma();
  for (int i = 0; i < static_cast<int>(scheduler.timesteps().size()); ++i) {
    auto sample = latents.clone();
    for (float& x : sample.floats()) x *= scheduler.input_scale(i);
    auto noise_pred = unet(sample, scheduler.timesteps()[i], prompt_embeds, added);
    latents = scheduler.step(noise_pred, i, latents);
  }

  for (float& x : latents.floats()) x /= static_cast<float>(vae.scaling_factor());
  auto image = vae.decode(latents);
  for (float& x : image.floats()) x = x / 2 + 0.5f;
  Image::from_tensor(nchw_to_nhwc(image).reshape({height, width, 3})).save("astronaut.png");
}
