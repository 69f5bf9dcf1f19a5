// How far pictures have drifted from the reference's, and the bound a user sets.
#pragma once

#include <string>
#include <vector>

#include "vivace/image.h"

namespace vivace::cli {

// The worst of several pictures, by each measure on its own.
struct Drift {
  double psnr = 0, ssim = 0, mdsi = 0;  // psnr: infinite for equal pictures
};
Drift worst_drift(const std::vector<Image>& reference, const std::vector<Image>& images);

// "PSNR>=30", "SSIM>=0.95", "MDSI<=0.2".
class DriftBound {
 public:
  // Throws UsageError.
  static DriftBound parse(const std::string& text);

  bool holds(const Drift& drift) const;
  // What small changes add up in, roughly: the squared error for PSNR, 1 - SSIM, the deviation whose fourth root MDSI is. 0 for equal pictures.
  double cost(const Drift& drift) const;
  std::string text() const;
  // "PSNR 31.20 dB".
  std::string text(const Drift& drift) const;

 private:
  enum class Measure { psnr, ssim, mdsi };
  Measure measure_ = Measure::psnr;
  double limit_ = 0;
};

}  // namespace vivace::cli
