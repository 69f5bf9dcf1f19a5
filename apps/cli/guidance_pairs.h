// --parallel guidance: two processes draw a picture, each making the prediction of one prompt at every step.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "parallel.h"

namespace vivace {
class Communicator;
class Device;
class RankDevice;
class Rendezvous;
}  // namespace vivace

namespace vivace::cli {

// Of one rank among all of the pairs.
class GuidancePairs {
 public:
  // Meets the others at MASTER_ADDR and MASTER_PORT. `command`: the same for all ranks. `seeds` of so many pictures; where there are none, those that
  // rank 0 draws. Throws UserError for ranks that do not come or do not fit, UsageError for a device that cannot exchange anything.
  GuidancePairs(const Ranks& ranks, const std::string& device, const std::string& command, size_t pictures, std::vector<uint64_t>& seeds);
  ~GuidancePairs();
  // With the other of this rank's pair, which it waits for. It ends the request where another rank has ended.
  std::shared_ptr<Communicator> communicator();
  // All of this rank's work is done.
  void leave();

 private:
  const Ranks ranks_;
  std::shared_ptr<Device> device_;
  RankDevice* rank_device_;  // the same
  std::shared_ptr<Rendezvous> met_;
  std::string id_;  // of the pair's communicator
};

}  // namespace vivace::cli
