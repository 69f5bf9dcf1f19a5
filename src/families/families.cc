// The list of families.
#include "families/family.h"
#include "families/latent_consistency/latent_consistency.h"
#include "families/stable_diffusion/stable_diffusion.h"
#include "families/stable_diffusion_xl/stable_diffusion_xl.h"

namespace vivace {

StepRange Recipe::steps(const Call&, const Scheduler& scheduler) const { return {0, static_cast<int>(scheduler.timesteps().size())}; }

std::span<const Family> families() {
  static const std::vector<Family> list{
      stable_diffusion_xl_family(),
      stable_diffusion_family(),
      latent_consistency_family(),
  };
  return list;
}

}  // namespace vivace
