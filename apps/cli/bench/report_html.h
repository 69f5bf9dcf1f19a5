// A benchmark's report as one web page: pictures, plots and figures in the file itself, nothing fetched.
#pragma once

#include <string>

#include "bench/report.h"

namespace vivace::cli {

std::string report_html(const Report& report);

}  // namespace vivace::cli
