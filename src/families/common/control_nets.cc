#include "families/common/control_nets.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>

#include "base/log.h"
#include "runtime/step_loop.h"
#include "tensor/half.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr std::string_view kNames[] = {"controlnet", "controlnet_2", "controlnet_3", "controlnet_4"};
static_assert(std::size(kNames) <= kMostAdded);

// Of all nets, or of each.
double value_of(const std::vector<double>& values, size_t net, double fallback) {
  return values.empty() ? fallback : values.size() == 1 ? values[0] : values[net];
}

// To the last of its rows, where there are fewer: those of the positive prompt.
template <class T>
void add_scaled(const Tensor& from, float scale, Tensor& to) {
  T* x = to.as<T>() + (to.numel() - from.numel());
  for (int64_t i = 0; i < from.numel(); ++i) x[i] = T(static_cast<float>(x[i]) + scale * static_cast<float>(from.as<T>()[i]));
}

}  // namespace

std::string_view controlnet_name(size_t number) { return kNames[number]; }

std::vector<std::string_view> controlnets_of(const Parts& parts) {
  std::vector<std::string_view> names;
  std::ranges::copy_if(kNames, std::back_inserter(names), [&](std::string_view name) { return parts.has(name); });
  return names;
}

std::vector<PartSpec> with_controlnets(std::vector<PartSpec> parts) {
  for (size_t i = 0; i < std::size(kNames); ++i)
    parts.push_back({.name = kNames[i], .classes = {"ControlNetModel"}, .optional = i > 0, .hot = true, .controlnet = true});
  return parts;
}

void check_controlnet(const Parts& parts, std::string_view name, const ControlNetConfig& net, const UNetConfig& unet, const LatentFormat& latents) {
  const auto refuse = [&](const char* field, const auto& has, const auto& wanted) {
    throw UserError(
        cat(parts.folder(name), " has ", field, ' ', has, ", ", parts.folder("unet"), ' ', wanted, ": expected the ControlNet of that model"));
  };
  const auto text = [](const std::vector<int64_t>& values) { return to_string(Shape(values.begin(), values.end())); };
  if (net.unet.block_out_channels != unet.block_out_channels)
    refuse("block_out_channels", text(net.unet.block_out_channels), text(unet.block_out_channels));
  if (net.unet.layers_per_block != unet.layers_per_block) refuse("layers_per_block", text(net.unet.layers_per_block), text(unet.layers_per_block));
  if (net.unet.cross_attention_dim != unet.cross_attention_dim) refuse("cross_attention_dim", net.unet.cross_attention_dim, unet.cross_attention_dim);
  // A UNet that reads a mask beside the latents has a ControlNet that reads these alone.
  if (net.unet.in_channels != latents.channels) refuse("in_channels", net.unet.in_channels, unet.in_channels);
  if (net.unet.projection_class_embeddings_input_dim != unet.projection_class_embeddings_input_dim)
    refuse("projection_class_embeddings_input_dim", net.unet.projection_class_embeddings_input_dim, unet.projection_class_embeddings_input_dim);
  if (net.scale() != latents.scale)
    throw UserError(cat(parts.folder(name), " makes pictures ", net.scale(), " times smaller (conditioning_embedding_out_channels), ",
                        parts.folder("vae"), ' ', latents.scale, " times: expected the same"));
}

void check_control(const CallOptions& o, size_t nets, int64_t prompts) {
  if (o.control_image.size() != nets)
    throw UsageError(cat("control_image has ", o.control_image.size(), " entries for ", nets, nets == 1 ? " ControlNet" : " ControlNets",
                         ": expected a picture (or several) for each"));
  for (const ImageInput& image : o.control_image) {
    if (image.latents.defined()) throw UsageError("control_image is given as latents: expected pictures");
    if (image.count() != 1 && image.count() != prompts)
      throw UsageError(cat("control_image has ", image.count(), " pictures for ", prompts, " prompts: expected one, or one for each"));
    if (std::ranges::any_of(image.images, &Image::empty)) throw UsageError("control_image has an entry that is none");
  }
  const auto check_count = [&](const std::vector<double>& values, const char* name) {
    if (values.size() > 1 && values.size() != nets)
      throw UsageError(cat(name, " has ", values.size(), " entries for ", nets, " ControlNets: expected one, or one for each"));
  };
  check_count(o.controlnet_conditioning_scale, "controlnet_conditioning_scale");
  check_count(o.control_guidance_start, "control_guidance_start");
  check_count(o.control_guidance_end, "control_guidance_end");
  for (size_t i = 0; i < nets; ++i) {
    const double first = value_of(o.control_guidance_start, i, 0), last = value_of(o.control_guidance_end, i, 1);
    if (!(first >= 0 && last <= 1 && first < last))
      throw UsageError(cat("control_guidance_start is ", first, " and control_guidance_end ", last, ": expected 0 <= start < end <= 1"));
  }
}

ControlNets::ControlNets(std::vector<SessionLease> nets, const std::vector<Tensor>& pictures, const Call& call, const Conditioning& conditioning,
                         Guidance guidance, std::span<const float> timesteps, const StepRange& steps, Session& unet, Request& request)
    : guidance_(guidance), steps_(steps), unet_(unet), request_(request) {
  const CallOptions& o = call.options;
  for (size_t i = 0; i < nets.size(); ++i) {
    Session& session = *nets[i];
    write_conditioning(session, conditioning, guidance, makes_negative(call.ranks));
    const Tensor twice[] = {pictures[i], pictures[i]};
    session.write("controlnet_cond", nchw_to_nhwc(guidance == Guidance::halves ? concat_rows(twice) : pictures[i]));
    const bool scheduled = session.has_input("step_index");
    if (scheduled) session.write("timestep", Tensor::from({static_cast<int64_t>(timesteps.size())}, timesteps));
    session.run(Phase::setup, request);
    Net net{.session = std::move(nets[i]),
            .input = session.input("sample"),
            .step = session.input(scheduled ? "step_index" : "timestep"),
            .scheduled = scheduled,
            .outputs = {},
            .scale = static_cast<float>(value_of(o.controlnet_conditioning_scale, i, 1)),
            .first_step = value_of(o.control_guidance_start, i, 0),
            .last_step = value_of(o.control_guidance_end, i, 1)};
    for (size_t k = 0; session.has_output(cat(kDownSamples, k)); ++k) net.outputs.push_back(session.output(cat(kDownSamples, k)));
    net.outputs.push_back(session.output(kMidSample));
    nets_.push_back(std::move(net));
  }
  for (size_t k = 0; unet.has_input(cat(kDownResiduals, k)); ++k) residuals_.push_back(unet.input(cat(kDownResiduals, k)));
  residuals_.push_back(unet.input(kMidResidual));
  for (const Net& net : nets_)
    if (net.outputs.size() != residuals_.size())
      throw InternalError(cat("a ControlNet gives ", net.outputs.size(), " values, the UNet takes ", residuals_.size()));
  // Where it guesses, what is deeper counts more: a tenth at first, and all of the middle.
  const auto last = static_cast<double>(residuals_.size() - 1);
  for (size_t k = 0; k < residuals_.size(); ++k)
    depth_.push_back(o.guess_mode ? static_cast<float>(std::pow(10.0, static_cast<double>(k) / last - 1)) : 1.f);
}

bool ControlNets::counts(const Net& net, int step) const {
  const double all = steps_.last - steps_.first, i = step - steps_.first;
  return !(i / all < net.first_step || (i + 1) / all > net.last_step);
}

void ControlNets::run(Net& net, int step, float timestep, float input_scale, const Tensor& latents) {
  feed_latents(latents, {}, true, input_scale, net.input.host);
  if (net.scheduled)
    *net.step.host.as<int32_t>() = step;
  else
    *net.step.host.as<float>() = timestep;
  net.session->send(net.input);
  net.session->send(net.step);
  net.session->run(Phase::step, request_);
  for (Port& output : net.outputs) net.session->fetch(output);
  net.session->wait(request_);
  net.session->check_quantized();
}

void ControlNets::add(int step, float timestep, float input_scale, const Tensor& latents) {
  for (Port& to : residuals_) std::memset(to.host.data(), 0, to.host.bytes());
  for (Net& net : nets_) {
    if (!counts(net, step)) continue;
    run(net, step, timestep, input_scale, latents);
    for (size_t k = 0; k < residuals_.size(); ++k)
      with_activations(residuals_[k].host, [&]<class T>(const T*) { add_scaled<T>(net.outputs[k].host, net.scale * depth_[k], residuals_[k].host); });
  }
  for (Port& to : residuals_) unet_.send(to);
}

void ControlNets::join(LoopCall& call) const {
  for (const Net& net : nets_) {
    if (net.scheduled != unet_.has_input("step_index")) throw InternalError("a ControlNet is told of a step in another way than its UNet");
    call.models.push_back({.session = &*net.session,
                           .number = net.session->number(),
                           .input = net.input.memory,
                           .step = net.step.memory,
                           .input_dtype = net.input.host.dtype(),
                           .halves = guidance_ == Guidance::halves,
                           .given = {}});
  }
  for (size_t k = 0; k < residuals_.size(); ++k) {
    const Port& to = residuals_[k];
    LoopSum sum{.to = to.memory, .dtype = to.host.dtype(), .count = to.host.numel(), .depth = depth_[k], .from = {}};
    for (const Net& net : nets_) sum.from.push_back({net.outputs[k].memory, net.outputs[k].host.numel()});
    call.sums.push_back(std::move(sum));
  }
}

void ControlNets::tell(int step, LoopStep& row) const {
  for (size_t n = 0; n < nets_.size(); ++n)
    if (counts(nets_[n], step))
      row.added[n] = nets_[n].scale;
    else
      row.left_out |= 1u << n;
}

}  // namespace vivace
