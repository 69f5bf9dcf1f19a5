#include "parallel.h"

#include <algorithm>
#include <cstdlib>
#include <initializer_list>
#include <random>

#include "base/log.h"
#include "base/numbers.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

struct Variable {
  const char* name;
  const char* value;  // nullptr: none of its names is set
};

Variable variable(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const char* value = std::getenv(name); value && *value) return {name, value};
  return {*names.begin(), nullptr};
}

Variable world_size() { return variable({"WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"}); }

// One of the call's lists: one entry for all pictures, or one each.
template <class List>
void take(List& list, const Share& share, size_t all, const char* name) {
  if (list.size() <= 1) return;
  if (list.size() != all) throw UsageError(cat(name, " has ", list.size(), " entries for ", all, ": expected one, or one each"));
  const auto begin = list.begin() + static_cast<std::ptrdiff_t>(share.first);
  list = List(std::vector<typename List::value_type>(begin, begin + static_cast<std::ptrdiff_t>(share.count)));
}

void refuse_what_cannot_be_shared(const CallOptions& call) {
  const std::pair<const char*, bool> given[] = {
      {"--latents", call.latents.defined()},
      {"--prompt-embeds", call.prompt_embeds.defined()},
      {"--masked-image-latents", call.masked_image_latents.defined()},
      {"several --image", call.image.images.size() > 1},
      {"latents as --image", call.image.latents.defined()},
      {"several --mask-image", call.mask_image.images.size() > 1},
      {"several --video", call.video.size() > 1},
      {"several pictures for a ControlNet", std::ranges::any_of(call.control_image, [](const ImageInput& image) { return image.count() > 1; })},
      {"--output-type latent, which is one file,", call.output_latent}};
  for (const auto& [what, is] : given)
    if (is) throw UsageError(cat("--parallel shares out texts, and ", what, " cannot be shared: expected one process for it"));
}

}  // namespace

Ranks ranks_of_environment() {
  const Variable size = world_size(), rank = variable({"RANK", "OMPI_COMM_WORLD_RANK"}),
                 local = variable({"LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"});
  for (const Variable& v : {size, rank})
    if (!v.value)
      throw UsageError(cat("--parallel: ", v.name,
                           " is not set: expected several processes, which torchrun --no-python --nproc-per-node N, mpirun or a shell that sets RANK "
                           "and WORLD_SIZE starts"));
  Ranks ranks{.rank = parse_number<int>(rank.value, rank.name), .size = parse_number<int>(size.value, size.name)};
  if (ranks.size < 1) throw UsageError(cat(size.name, " is ", ranks.size, ": expected 1 or more"));
  if (ranks.rank < 0 || ranks.rank >= ranks.size)
    throw UsageError(cat(rank.name, " is ", ranks.rank, " and ", size.name, ' ', ranks.size, ": expected a rank from 0 to ", ranks.size - 1));
  ranks.local = local.value ? parse_number<int>(local.value, local.name) : ranks.rank;
  return ranks;
}

Share share_of(size_t items, int rank, int size) {
  const auto r = static_cast<size_t>(rank), n = static_cast<size_t>(size);
  const size_t each = items / n, more = items % n;
  return {r * each + std::min(r, more), each + (r < more ? 1 : 0)};
}

void ParallelFlags::add(Arguments& app) {
  app.add_option(
      "--parallel", by,
      "What the processes that torchrun, mpirun or a shell started share, one a GPU: prompts, of which each draws its part, or guidance, whose "
      "two predictions two of them make, each one; RANK, WORLD_SIZE and LOCAL_RANK say which one this is");
}

Ranks ParallelFlags::ranks() const {
  if (by.empty()) {
    const Variable size = world_size();
    if (size.value && std::string_view(size.value) != "1")
      warn(size.name, " is ", size.value, " and --parallel is not given: each process draws all pictures and writes the same files");
    return {};
  }
  if (by != "prompts" && by != "guidance") throw UsageError(cat("--parallel is \"", by, "\": expected prompts or guidance"));
  Ranks ranks = ranks_of_environment();
  ranks.pairs = by == "guidance" && ranks.size > 1;
  if (ranks.pairs && ranks.size % 2)
    throw UsageError(cat("--parallel guidance: two processes share a picture, and WORLD_SIZE is ", ranks.size, ": expected an even number"));
  return ranks;
}

std::string device_of(const std::string& device, const Ranks& ranks) {
  if (ranks.size == 1) return device;
  if (device == "cuda") return cat("cuda:", ranks.local);
  if (device.starts_with("cuda:"))
    throw UsageError(cat("--device ", device, " is one GPU for ", ranks.size, " processes: expected cuda, of which each takes its own (LOCAL_RANK)"));
  return device;
}

PictureNumbers take_share(Prompts& prompts, CallOptions& call, std::vector<uint64_t>& seeds, const Ranks& ranks) {
  const size_t all = prompts.size(), each = static_cast<size_t>(std::max(call.num_images_per_prompt, 1));
  if (ranks.size == 1) return {};
  refuse_what_cannot_be_shared(call);
  const Share share = share_of(all, ranks.rank, ranks.size), pictures{share.first * each, share.count * each};
  // The noise of one seed is drawn for all pictures at once: a part of them would get another.
  if (seeds.size() == 1 && all * each > 1)
    throw UsageError(
        cat("--parallel and one --seed for ", all * each, " pictures: expected one each, as --seed ", seeds[0], ',', seeds[0] + 1, ",..."));
  take(seeds, pictures, all * each, "--seed");
  if (seeds.empty()) {
    std::random_device random;
    for (size_t i = 0; i < pictures.count; ++i) seeds.push_back(random());
  }
  if (all > 1) {
    take(call.prompt_2, share, all, "--prompt-2");
    if (call.negative_prompt) take(*call.negative_prompt, share, all, "--negative-prompt");
    if (call.negative_prompt_2) take(*call.negative_prompt_2, share, all, "--negative-prompt-2");
  }
  prompts = Prompts(std::vector<std::string>(prompts.begin() + static_cast<std::ptrdiff_t>(share.first),
                                             prompts.begin() + static_cast<std::ptrdiff_t>(share.first + share.count)));
  return {pictures.first, all * each};
}

}  // namespace vivace::cli
