// Draws the prompts' pictures with one setting after another: how long they take, how far they are from the reference's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "options.h"
#include "tune/measured.h"

namespace vivace::cli {

class Trial {
 public:
  // Throws Interrupted once a signal has come.
  Trial(const PictureOptions& options, std::vector<std::string> prompts, uint64_t seed);

  // The setting against `base`, in turns; drift against eager float32.
  Measured measure(const PretrainedOptions& base, const PretrainedOptions& setting);
  // The pipeline, loaded with this dtype.
  DiffusionPipeline& pipeline(const PretrainedOptions& setting);
  const CallOptions& call() const { return call_; }

 private:
  // Of the first `count` prompts; of videos every frame, so that the worst of them counts.
  std::vector<Image> draw(const PretrainedOptions& setting, size_t count);
  // Of a picture's steps and decoding, once the setting is prepared.
  double seconds(const PretrainedOptions& setting);

  const PictureOptions& options_;
  std::vector<std::string> prompts_;
  uint64_t seed_;
  CallOptions call_;
  std::unique_ptr<DiffusionPipeline> pipe_;
  DType dtype_ = float32;
  std::vector<Image> reference_;
};

}  // namespace vivace::cli
