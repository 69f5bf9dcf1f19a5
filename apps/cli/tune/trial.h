// Draws the prompts' pictures with one setting after another: how long they take, how far they are from the reference's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "options.h"
#include "tune/drift.h"

namespace vivace::cli {

struct Measured {
  double seconds = 0, base_seconds = 0;  // a picture's steps and decoding, with the setting and with what it was compared with
  Drift drift;
  double gain() const { return 1 - seconds / base_seconds; }
};

class Trial {
 public:
  // Throws Interrupted between steps once a signal has come.
  Trial(const PictureOptions& options, std::vector<std::string> prompts, uint64_t seed);

  // The setting against `base`, alternating; drift against eager float32. One picture of `base` before and after those of the setting.
  Measured measure(const PretrainedOptions& base, const PretrainedOptions& setting);
  // The pipeline, loaded with this dtype.
  DiffusionPipeline& pipeline(const PretrainedOptions& setting);
  // Of the pictures. A pipeline must have been loaded.
  Size size() const;

 private:
  struct Drawn {
    std::vector<Image> images;
    double seconds = 0;
  };
  Drawn draw(const PretrainedOptions& setting, size_t count);

  const PictureOptions& options_;
  std::vector<std::string> prompts_;
  uint64_t seed_;
  CallOptions call_;
  std::unique_ptr<DiffusionPipeline> pipe_;
  DType dtype_ = float32;
  std::vector<Image> reference_;
};

}  // namespace vivace::cli
