// A benchmark's report for the terminal.
#pragma once

#include <string>
#include <vector>

#include "bench/report.h"

namespace vivace::cli {

// Machine, settings, a table of speed, what keeps that from being relied on and, where there is a reference, a table of quality.
std::string report_text(const Report& report);
// The rungs of `b` against those of the same name in `a`, with a note for each way in which machine and settings differ. Throws UserError when
// no name is in both.
std::string comparison_text(const Report& a, const Report& b);

// ", cuda": what it ran on beside the processor; empty where that is all.
std::string device_text(const BenchSettings& settings);
// "1.3", in percent; "-" of one run.
std::string spread_text(const std::vector<double>& values);
// "12.34 dB", "equal".
std::string psnr_text(double psnr);
// The worst picture's and the middle one's figure of a rung with quality.
Quality worst_quality(const RungFigures& rung);
Quality median_quality(const RungFigures& rung);

}  // namespace vivace::cli
