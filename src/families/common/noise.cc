#include "families/common/noise.h"

#include <random>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {

Noise::Noise(const CallOptions& o, int64_t images) {
  if (!o.generators.empty() && (o.seed || !o.seeds.empty())) throw UsageError("generators and a seed are both given: choose one");
  if (!o.seeds.empty() && static_cast<int64_t>(o.seeds.size()) != images)
    throw UsageError(cat("seeds has ", o.seeds.size(), " entries for ", images, " images: give one for each"));
  if (o.generators.size() > 1 && static_cast<int64_t>(o.generators.size()) != images)
    throw UsageError(cat("generators has ", o.generators.size(), " entries for ", images, " images: give one, or one for each"));
  for (Generator* generator : o.generators) {
    if (!generator) throw UsageError("generators has an entry that is none");
    pointers_.push_back(generator);
    seeds_.push_back(generator->initial_seed());
  }
  if (!pointers_.empty()) return;
  seeds_ = o.seeds;
  if (seeds_.empty()) seeds_.push_back(o.seed ? *o.seed : std::random_device()());
  for (const uint64_t seed : seeds_) pointers_.push_back(own_.emplace_back(std::make_unique<Generator>(seed)).get());
}

Tensor Noise::draw_in_turn(const Shape& shape) {
  if (pointers_.size() > 1) return draw(shape);
  Shape one = shape;
  one[0] = 1;
  std::vector<Tensor> rows;
  for (int64_t n = 0; n < shape[0]; ++n) rows.push_back(draw(one));
  return concat_rows(rows);
}

Tensor initial_latents(const CallOptions& options, const Shape& shape, const Scheduler& scheduler, Noise& noise) {
  Tensor latents = options.latents.defined() ? options.latents.to(DType::float32).clone() : noise.draw(shape);
  if (latents.shape() != shape) throw UsageError(cat("latents have shape ", to_string(latents.shape()), ": expected ", to_string(shape)));
  for (float& x : latents.floats()) x *= scheduler.init_noise_sigma();
  return latents;
}

}  // namespace vivace
