// Where a call's random numbers come from.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "vivace/pipeline.h"

namespace vivace {

// The generators of a call: those that it was given, or made from its seed or seeds; without any from one that is drawn. One draws for all images,
// several draw for an image each.
class Noise {
 public:
  // Throws UsageError for a number of seeds or generators that is neither 1 nor `images`, or where there are both.
  Noise(const CallOptions& options, int64_t images);

  std::span<Generator* const> generators() const { return pointers_; }
  const std::vector<uint64_t>& seeds() const { return seeds_; }
  // Diffusers' randn_tensor.
  Tensor draw(const Shape& shape) { return randn_tensor(shape, pointers_); }
  // The same, by one generator for one image after the other.
  Tensor draw_in_turn(const Shape& shape);
  // The same for the first shape[0] images alone.
  Tensor draw_first(const Shape& shape) {
    return randn_tensor(shape, std::span(pointers_).first(pointers_.size() > 1 ? static_cast<size_t>(shape[0]) : 1));
  }

 private:
  std::vector<std::unique_ptr<Generator>> own_;
  std::vector<Generator*> pointers_;
  std::vector<uint64_t> seeds_;
};

// prepare_latents of text to image: given ones of `shape` or drawn ones, times the scheduler's init_noise_sigma.
Tensor initial_latents(const CallOptions& options, const Shape& shape, const Scheduler& scheduler, Noise& noise);

}  // namespace vivace
