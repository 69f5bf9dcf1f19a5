#include "tune/drift.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/log.h"
#include "base/numbers.h"
#include "bench/report_text.h"
#include "output.h"
#include "vivace/error.h"
#include "vivace/quality.h"

namespace vivace::cli {
namespace {

struct Row {
  const char *name, *relation;
  double least, most;
};
// In the order of Measure.
constexpr std::array<Row, 3> kMeasures{{{"PSNR", ">=", 0, 200}, {"SSIM", ">=", -1, 1}, {"MDSI", "<=", 0, 1}}};

}  // namespace

Drift worst_drift(const std::vector<Image>& reference, const std::vector<Image>& images) {
  Drift worst{std::numeric_limits<double>::infinity(), 1, 0};
  for (size_t i = 0; i < images.size(); ++i) {
    worst.psnr = std::min(worst.psnr, psnr(reference[i], images[i]));
    worst.ssim = std::min(worst.ssim, ssim(reference[i], images[i]));
    worst.mdsi = std::max(worst.mdsi, mdsi(reference[i], images[i]));
  }
  return worst;
}

DriftBound DriftBound::parse(const std::string& text) {
  std::string compact;
  for (char c : text)
    if (c != ' ') compact += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  for (size_t i = 0; i < kMeasures.size(); ++i) {
    const Row& row = kMeasures[i];
    const std::string head = cat(row.name, row.relation);
    if (!compact.starts_with(head)) continue;
    DriftBound bound;
    bound.measure_ = static_cast<Measure>(i);
    bound.limit_ = parse_number<double>(std::string_view(compact).substr(head.size()), cat("the number of --max-drift \"", text, '"'));
    if (bound.limit_ >= row.least && bound.limit_ <= row.most) return bound;
    throw UsageError(cat("--max-drift \"", text, "\": expected a number from ", row.least, " to ", row.most, " behind ", head));
  }
  throw UsageError(cat("--max-drift \"", text, "\": expected a bound such as PSNR>=30, SSIM>=0.95 or MDSI<=0.2"));
}

bool DriftBound::holds(const Drift& d) const {
  return measure_ == Measure::psnr ? d.psnr >= limit_ : measure_ == Measure::ssim ? d.ssim >= limit_ : d.mdsi <= limit_;
}

double DriftBound::cost(const Drift& d) const {
  return measure_ == Measure::psnr ? std::pow(10, -d.psnr / 10) : measure_ == Measure::ssim ? 1 - d.ssim : std::pow(d.mdsi, 4);
}

std::string DriftBound::text() const {
  return cat(kMeasures[static_cast<size_t>(measure_)].name, kMeasures[static_cast<size_t>(measure_)].relation, limit_);
}

std::string DriftBound::text(const Drift& d) const {
  return measure_ == Measure::psnr   ? "PSNR " + psnr_text(d.psnr)
         : measure_ == Measure::ssim ? "SSIM " + fixed(d.ssim, 4)
                                     : "MDSI " + fixed(d.mdsi, 4);
}

}  // namespace vivace::cli
