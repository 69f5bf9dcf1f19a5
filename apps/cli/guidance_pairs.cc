#include "guidance_pairs.h"

#include <cstdlib>
#include <cstring>
#include <random>

#include "backends/devices.h"
#include "base/log.h"
#include "base/numbers.h"
#include "base/rendezvous.h"
#include "runtime/communicator.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

// PyTorch's variables and its defaults for them.
void take_place(Rendezvous::Options& options) {
  if (const char* address = std::getenv("MASTER_ADDR"); address && *address) options.address = address;
  if (const char* port = std::getenv("MASTER_PORT"); port && *port) options.port = parse_number<int>(port, "MASTER_PORT");
  // There torchrun's own store listens.
  if (const char* store = std::getenv("TORCHELASTIC_USE_AGENT_STORE"); store && std::string_view(store) == "True") ++options.port;
  if (options.port < 1 || options.port > 65535) throw UsageError(cat("MASTER_PORT is ", options.port, ": expected a port from 1 to 65535"));
}

}  // namespace

GuidancePairs::GuidancePairs(const Ranks& ranks, const std::string& device, const std::string& command, size_t pictures, std::vector<uint64_t>& seeds)
    : ranks_(ranks), device_(open_device(device)), rank_device_(dynamic_cast<RankDevice*>(device_.get())) {
  if (!rank_device_) throw UsageError(cat("--parallel guidance: device ", device, " exchanges nothing with other processes: expected --device cuda"));
  Rendezvous::Options options{.rank = ranks.rank, .size = ranks.size, .task = command, .message = {}};
  take_place(options);
  const std::string own_id = rank_device_->communicator_id();  // by every rank: one that lacks the library says so before the others wait for it
  if (ranks.rank == 0) {
    std::random_device random;
    for (size_t i = 0; i < pictures; ++i) {
      const uint64_t seed = random();
      options.message.append(reinterpret_cast<const char*>(&seed), sizeof seed);
    }
    for (int pair = 0; pair < ranks.size / 2; ++pair) options.message += pair == 0 ? own_id : rank_device_->communicator_id();
  }
  met_ = std::make_shared<Rendezvous>(options);
  const std::string& told = met_->message();
  const size_t seed_bytes = pictures * sizeof(uint64_t);
  if (told.size() != seed_bytes + own_id.size() * static_cast<size_t>(ranks.size / 2))
    throw UserError("rank 0 tells of another call: expected the same version of this program");
  if (seeds.empty()) {
    seeds.resize(pictures);
    std::memcpy(seeds.data(), told.data(), seed_bytes);
  }
  id_ = told.substr(seed_bytes + own_id.size() * static_cast<size_t>(ranks.rank / 2), own_id.size());
}

GuidancePairs::~GuidancePairs() = default;

std::shared_ptr<Communicator> GuidancePairs::communicator() {
  return rank_device_->communicator(id_, ranks_.rank % 2, 2, [met = met_] { met->check(); });
}

void GuidancePairs::leave() { met_->leave(); }

}  // namespace vivace::cli
