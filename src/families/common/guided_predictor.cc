#include "families/common/guided_predictor.h"

#include <cmath>
#include <cstring>

#include "base/log.h"
#include "base/statistics.h"
#include "families/common/control_nets.h"
#include "runtime/communicator.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// positive, or with a negative prediction negative + scale * (positive - negative). Whether all of it is finite.
template <class T>
bool guide(const T* negative, const T* positive, const Layout& l, float scale, Tensor& prediction) {
  bool finite = true;
  for (int64_t n = 0; n < l.images; ++n) {
    float* to = prediction.as<float>() + n * l.image();
    for (int64_t p = 0; p < l.pixels; ++p)
      for (int64_t c = 0; c < l.channels; ++c) {
        auto x = static_cast<float>(*positive++);
        if (negative) {
          const auto from = static_cast<float>(*negative++);
          x = from + scale * (x - from);
        }
        finite = finite && std::isfinite(x);
        to[c * l.pixels + p] = x;
      }
  }
  return finite;
}

}  // namespace

bool makes_negative(const std::shared_ptr<Communicator>& ranks) { return ranks && ranks->rank() == 0; }

Guidance guidance_of(const Call& call, Guidance both) {
  if (!call.guidance) return Guidance::none;
  return call.ranks ? Guidance::shared : both;
}

Layout layout_of(const Tensor& latents, bool channels_last) {
  const int64_t images = latents.dim(0), channels = channels_last ? latents.dim(1) : 1;
  return {images, channels, latents.numel() / (images * channels)};
}

void feed_latents(const Tensor& latents, const Tensor& beside, bool channels_last, float factor, Tensor& input) {
  const Layout l = layout_of(latents, channels_last);
  const int64_t more = beside.defined() ? beside.dim(1) : 0;
  with_activations(input, [&]<class T>(const T*) {
    T* to = input.as<T>();
    for (int64_t n = 0; n < input.numel() / (l.image() + more * l.pixels); ++n) {
      const float* from = latents.as<float>() + n % l.images * l.image();
      const float* with = more ? beside.as<float>() + n % l.images * more * l.pixels : nullptr;
      for (int64_t p = 0; p < l.pixels; ++p) {
        for (int64_t c = 0; c < l.channels; ++c) *to++ = T(from[c * l.pixels + p] * factor);
        for (int64_t c = 0; c < more; ++c) *to++ = T(with[c * l.pixels + p]);
      }
    }
  });
}

std::map<std::string, Tensor> inputs_of(const Session& session, const Conditioning& conditioning, Guidance guidance, bool negative) {
  std::map<std::string, Tensor> result;
  for (const auto& [name, positive] : conditioning.positive) {
    if (!session.has_input(name)) continue;
    const auto found = conditioning.negative.find(name);
    const Tensor other = found == conditioning.negative.end() ? positive : found->second;
    const Tensor both[] = {other, positive};
    result[name] = guidance == Guidance::halves ? concat_rows(both) : negative ? other : positive;
  }
  for (const auto& [name, value] : conditioning.shared)
    if (session.has_input(name)) result[name] = value;
  return result;
}

void write_conditioning(Session& session, const Conditioning& conditioning, Guidance guidance, bool negative) {
  for (const auto& [name, value] : inputs_of(session, conditioning, guidance, negative)) session.write(name, value);
}

std::vector<float> timesteps_of(const Call& call, const Scheduler& scheduler) {
  std::vector<float> result(scheduler.timesteps().begin(), scheduler.timesteps().begin() + call.timesteps);
  result.resize(static_cast<size_t>(call.rows), result.back());
  return result;
}

std::unique_ptr<Predictor> guided_by_halves(SessionLease session, const Call& call, const Conditioning& conditioning, const Scheduler& scheduler,
                                            GuidedPredictorOptions options, Request& request) {
  options.guidance = guidance_of(call, Guidance::halves);
  options.ranks = call.ranks;
  options.steps = static_cast<int>(call.timesteps);
  std::vector<SessionLease> sessions;
  sessions.push_back(std::move(session));
  return std::make_unique<GuidedPredictor>(std::move(sessions), conditioning, timesteps_of(call, scheduler), std::move(options), request);
}

GuidedPredictor::GuidedPredictor(std::vector<SessionLease> sessions, Conditioning conditioning, std::span<const float> timesteps,
                                 GuidedPredictorOptions options, Request& request)
    : options_(std::move(options)), conditioning_(std::move(conditioning)), request_(request), sessions_(std::move(sessions)) {
  if (sessions_.empty() || sessions_.size() > (options_.guidance == Guidance::in_turn ? 2 : 1))
    throw InternalError(cat(options_.name, ": ", sessions_.size(), " sessions for a predictor"));
  timesteps_ = Tensor::from({static_cast<int64_t>(timesteps.size())}, timesteps);
  if (options_.timestep)
    for (float& t : timesteps_.floats()) t = options_.timestep(t);
  for (const SessionLease& session : sessions_) {
    const bool scheduled = session->has_input("step_index");
    ports_.push_back(
        {session->input(options_.input), session->input(scheduled ? "step_index" : "timestep"), session->output(options_.output), scheduled});
  }
  if (alternates())
    negative_ = positive().clone();
  else if (options_.guidance == Guidance::shared)
    set_up(*sessions_[0], makes_negative(options_.ranks));
  else
    for (size_t i = 0; i < sessions_.size(); ++i) set_up(*sessions_[i], i + 1 < sessions_.size());
}

std::map<std::string, Tensor> GuidedPredictor::known(const Session& session, bool negative) const {
  std::map<std::string, Tensor> result = inputs_of(session, conditioning_, options_.guidance, negative);
  if (session.has_input("step_index")) result["timestep"] = timesteps_;
  return result;
}

void GuidedPredictor::set_up(Session& session, bool negative) {
  for (const auto& [name, value] : known(session, negative)) session.write(name, value);
  session.run(Phase::setup, request_);
}

void GuidedPredictor::not_finite(int step, float timestep) const {
  throw NotFinite(cat("the ", options_.name, " gave a NaN or an infinity at step ", step + 1, " of ", options_.steps, " (timestep ", timestep, ")"));
}

// rescale_noise_cfg (https://arxiv.org/abs/2305.08891, section 3.4): the guided prediction gets the deviation of the positive one.
void GuidedPredictor::rescale(Tensor& prediction) const {
  const int64_t images = prediction.dim(0), image = prediction.numel() / images;
  const int64_t first = options_.guidance == Guidance::halves ? images : 0;
  const double rescale = options_.rescale;
  for (int64_t n = 0; n < images; ++n) {
    float* x = prediction.as<float>() + n * image;
    const double wanted = with_activations(positive(), [&](const auto* all) { return standard_deviation(all + (first + n) * image, image); });
    const auto factor = static_cast<float>(rescale * wanted / standard_deviation(x, image) + (1 - rescale));
    for (int64_t i = 0; i < image; ++i) x[i] *= factor;
  }
}

void GuidedPredictor::check_fit(const Ports& ports, const Tensor& latents) const {
  const Tensor& beside = conditioning_.beside;
  const int64_t times = options_.guidance == Guidance::halves ? 2 : 1;
  if (ports.input.host.numel() != (latents.numel() + (beside.defined() ? beside.numel() : 0)) * times ||
      ports.output.host.numel() != latents.numel() * times)
    throw InternalError(cat("latents ", to_string(latents.shape()), " do not fit ", options_.name, "'s input ", to_string(ports.input.host.shape()),
                            " and output ", to_string(ports.output.host.shape())));
}

void GuidedPredictor::predict(size_t number, int step, float timestep, float input_scale, const Tensor& latents) {
  Session& session = *sessions_[number];
  Ports& ports = ports_[number];
  check_fit(ports, latents);
  if (options_.nets) options_.nets->add(step, timestep, input_scale, latents);
  feed_latents(latents, conditioning_.beside, options_.channels_last, input_scale, ports.input.host);
  if (ports.scheduled)
    *ports.step.host.as<int32_t>() = step;
  else
    *ports.step.host.as<float>() = model_timestep(timestep);
  session.send(ports.input);
  session.send(ports.step);
  session.run(Phase::step, request_);
  session.fetch(ports.output);
  session.wait(request_);  // a session's only one in a step
  session.check_quantized();
}

void GuidedPredictor::predict(int step, float timestep, float input_scale, const Tensor& latents, Tensor& prediction) {
  if (alternates()) {
    set_up(*sessions_[0], true);
    predict(0, step, timestep, input_scale, latents);
    std::memcpy(negative_.data(), positive().data(), negative_.bytes());
    set_up(*sessions_[0], false);
  }
  for (size_t i = 0; i < sessions_.size(); ++i) predict(i, step, timestep, input_scale, latents);
  const float scale = scale_of(timestep);
  const bool finite = with_activations(positive(), [&]<class T>(const T* last) {
    const T* first = options_.guidance == Guidance::none ? nullptr : negative().as<T>();
    return guide(first, options_.guidance == Guidance::halves ? last + latents.numel() : last, layout_of(latents, options_.channels_last), scale,
                 prediction);
  });
  if (!finite) not_finite(step, timestep);
  if (options_.guidance != Guidance::none && options_.rescale > 0) rescale(prediction);
}

}  // namespace vivace
