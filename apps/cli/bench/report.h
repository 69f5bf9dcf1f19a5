// What a benchmark found, and its JSON form, which bench/ladder_torch.py writes too.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace vivace::cli {

struct Machine {
  std::string cpu, isa, system;
  int threads = 0;
  int64_t memory_bytes = 0;
};
// Of this machine; `isa` is the instruction set in use.
Machine this_machine();

// What every contestant was asked for.
struct BenchSettings {
  std::string model, scheduler, device = "cpu";
  std::vector<std::string> prompts;
  uint64_t seed = 0;  // of the first prompt's picture; each further one has the next
  int64_t height = 0, width = 0;
  int64_t frames = 0;  // of a video
  int steps = 0, runs = 0;
  double guidance_scale = 0;
};

// "picture", or "video".
inline const char* drawn(const BenchSettings& settings) { return settings.frames > 0 ? "video" : "picture"; }

// One picture against the reference's.
struct Quality {
  double psnr = 0, ssim = 0, mdsi = 0;            // psnr: infinite for equal pictures
  std::vector<double> latent_cosine, latent_rms;  // after each step; the last are the final latent's
};

struct RungFigures {
  std::string name;
  std::vector<std::string> arguments;
  std::string error;  // why there are no figures
  // One entry a run. A picture in a warm process and the median of its steps; from the start of a process to its first picture.
  std::vector<double> seconds, step_seconds, cold_seconds;
  int64_t peak_resident_bytes = 0;    // of the process, at its largest
  std::vector<Quality> quality;       // one entry a picture, of a video one a frame; none for the reference
  std::vector<std::string> pictures;  // PNG files, of the first prompts; of a video its first frame
};

struct Report {
  std::string program, version, date;
  Machine machine;
  BenchSettings settings;
  std::vector<RungFigures> rungs;
};

// Pictures kept of each rung.
inline constexpr size_t kPictures = 4;

nlohmann::json to_json(const Report& report);
// Throws UserError that names the file and the field.
Report read_report(const std::filesystem::path& path);

// Of a list that is not empty.
double median(std::vector<double> values);
// max / min - 1.
double spread(const std::vector<double>& values);
// median(a) / median(b); 0 when either is empty.
double ratio(const std::vector<double>& a, const std::vector<double>& b);

std::string base64(const std::string& bytes);
// Throws UserError that starts with `name`.
std::string from_base64(const std::string& text, const std::string& name);

}  // namespace vivace::cli
