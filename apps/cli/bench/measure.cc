#include "bench/measure.h"

#include <chrono>
#include <set>

#include "base/json.h"
#include "base/log.h"
#include "base/parallel.h"
#include "bench/child.h"
#include "output.h"
#include "vivace/error.h"
#include "vivace/quality.h"

namespace vivace::cli {
namespace {

struct Picture {
  std::vector<Image> images;  // one, or a video's frames
  Tensor latents;             // [steps, n]
};

struct Turn {
  double cold_seconds = 0, seconds = 0;
  std::vector<double> steps;
  Config figures;  // the worker's
  std::vector<Picture> pictures;
  std::vector<std::string> warnings;
};

Tensor read_tensor(Child& child, const Shape& shape) {
  Tensor values(shape, float32);
  child.read(values.floats());
  return values;
}

Turn take_turn(const Measurement& m, const Contestant& contestant, bool send) {
  std::vector<std::string> arguments{"bench", "--worker", cat("--threads=", num_threads()), cat("--seed=", m.seed)};
  if (send) arguments.push_back("--send-pictures");
  for (const std::string& prompt : m.prompts) arguments.push_back("--prompt=" + prompt);
  arguments.insert(arguments.end(), m.arguments.begin(), m.arguments.end());
  arguments.insert(arguments.end(), contestant.arguments.begin(), contestant.arguments.end());
  const auto begin = std::chrono::steady_clock::now();
  Child child(arguments);
  child.line();
  const double cold = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const Config figures = Config::parse(child.line(), "a benchmarked process's figures");
  Turn turn{cold, figures.get<double>("seconds"), figures.get<std::vector<double>>("steps"), figures, {}, {}};
  for (size_t i = 0; send && i < m.prompts.size(); ++i) {
    const Config shapes = Config::parse(child.line(), "a benchmarked process's picture");
    Picture picture;
    for (auto left = shapes.get<int64_t>("images"); left > 0; --left)
      picture.images.push_back(Image::from_tensor(read_tensor(child, shapes.get<std::vector<int64_t>>("image"))));
    picture.latents = read_tensor(child, shapes.get<std::vector<int64_t>>("latents"));
    turn.pictures.push_back(std::move(picture));
  }
  turn.warnings = child.finish();
  return turn;
}

// Of image `i`; the latents are those of all.
Quality compare_pictures(const Picture& reference, const Picture& picture, size_t i) {
  const Image &a = reference.images[i], &b = picture.images[i];
  Quality q{psnr(a, b), ssim(a, b), mdsi(a, b), {}, {}};
  for (int64_t step = 0; step < reference.latents.dim(0); ++step) {
    const Tensor a = reference.latents.rows(step, step + 1), b = picture.latents.rows(step, step + 1);
    q.latent_cosine.push_back(cosine_similarity(a, b));
    q.latent_rms.push_back(relative_rms(a, b));
  }
  return q;
}

void add_pictures(RungFigures& rung, const std::vector<Picture>& pictures, const std::vector<Picture>& reference) {
  for (size_t i = 0; i < pictures.size(); ++i) {
    for (size_t n = 0; n < pictures[i].images.size() && !reference.empty(); ++n)
      rung.quality.push_back(compare_pictures(reference[i], pictures[i], n));
    if (i >= kPictures) continue;
    const std::vector<uint8_t> png = pictures[i].images[0].png();
    rung.pictures.emplace_back(png.begin(), png.end());
  }
}

void add_times(RungFigures& rung, const Turn& turn) {
  rung.seconds.push_back(turn.seconds);
  rung.step_seconds.push_back(median(turn.steps));
  rung.cold_seconds.push_back(turn.cold_seconds);
  rung.peak_resident_bytes = std::max(rung.peak_resident_bytes, turn.figures.get<int64_t>("peak_resident_bytes"));
}

void fill_settings(BenchSettings& settings, const Measurement& m, const Turn& turn) {
  settings = {.scheduler = turn.figures.get<std::string>("scheduler"),
              .prompts = m.prompts,
              .seed = m.seed,
              .height = turn.figures.get<int64_t>("height"),
              .width = turn.figures.get<int64_t>("width"),
              .frames = turn.figures.get<int64_t>("frames"),
              .steps = static_cast<int>(turn.steps.size()),
              .runs = m.runs,
              .guidance_scale = turn.figures.get<double>("guidance_scale")};
}

}  // namespace

Report measure(const Measurement& m) {
  Report report;
  report.machine = this_machine();
  for (const Contestant& c : m.contestants) report.rungs.push_back({.name = c.name, .arguments = c.arguments});
  std::vector<Picture> reference;
  std::set<std::string> told;
  const size_t count = m.contestants.size();
  int done = 0;
  for (int round = 0; round < m.runs; ++round)
    for (size_t i = 0; i < count; ++i) {
      const size_t which = (i + static_cast<size_t>(round)) % count;
      RungFigures& rung = report.rungs[which];
      const auto begin = std::chrono::steady_clock::now();
      if (rung.error.empty()) {
        try {
          Turn turn = take_turn(m, m.contestants[which], round == 0);
          add_times(rung, turn);
          for (const std::string& warning : turn.warnings)
            if (m.on_warning && told.insert(warning).second) m.on_warning(warning);
          if (round == 0) add_pictures(rung, turn.pictures, reference);
          if (round == 0 && which == 0) {
            fill_settings(report.settings, m, turn);
            reference = std::move(turn.pictures);
          }
        } catch (const UserError& error) {
          if (which == 0) throw;
          rung.error = error.what();
        }
      }
      if (m.on_turn)
        m.on_turn(++done, m.runs * static_cast<int>(count), std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
  return report;
}

}  // namespace vivace::cli
