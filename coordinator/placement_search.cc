#include "coordinator/placement_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "coordinator/placement_fluid.h"

namespace headlong {
namespace {

constexpr double kMostPlacements = 5000;

class Search {
 public:
  explicit Search(const PlacementModel& model)
      : model_(model),
        left_(model.room()),
        layers_(model.layers()),
        seconds_(model.layers(), std::vector<double>(model.workers(), 0)) {
    for (int layer = 0; layer < model.layers(); ++layer) {
      for (size_t kind = 0; kind < model.kinds().size(); ++kind) {
        for (int slot = 0; slot < model.heads(layer, static_cast<int>(kind)); ++slot) {
          heads_.push_back({layer, static_cast<int>(kind), slot});
        }
      }
    }
  }

  std::optional<std::vector<LayerParts>> Run() {
    const auto heads = static_cast<double>(heads_.size());
    if (std::pow(model_.workers(), heads) > kMostPlacements) return std::nullopt;
    Place(0, 0);
    if (best_.empty()) return std::nullopt;
    return std::move(best_);
  }

 private:
  struct Head {
    int layer = 0;
    int kind = 0;
    int slot = 0;
  };

  // Heads from `next` on are open; the layers before theirs take `done` seconds.
  void Place(size_t next, double done) {
    if (next == heads_.size()) return Weigh(done);
    const Head& head = heads_[next];
    const int64_t bytes = model_.kinds()[head.kind].bytes();
    const bool last = next + 1 == heads_.size() || heads_[next + 1].layer != head.layer;
    std::vector<double>& seconds = seconds_[head.layer];
    for (int i = 0; i < model_.workers(); ++i) {
      if (left_[i] < bytes) continue;
      const double before = seconds[i];
      left_[i] -= bytes;
      seconds[i] += model_.PartSeconds(i, head.kind, {});
      layers_[head.layer].push_back({head.kind, head.slot, i, {}});
      const double slowest = *std::max_element(seconds.begin(), seconds.end());
      if (done + slowest < least_) Place(next + 1, done + (last ? slowest : 0));
      layers_[head.layer].pop_back();
      seconds[i] = before;
      left_[i] += bytes;
    }
  }

  void Weigh(double attention) {
    if (attention + model_.FluidStepSeconds(left_) >= least_) return;
    const std::optional<FluidShares> fluid = DivideFluid(model_, left_);
    if (!fluid) return;
    const double seconds = attention + FluidSeconds(model_, *fluid);
    if (seconds >= least_) return;
    least_ = seconds;
    best_ = layers_;
  }

  const PlacementModel& model_;
  std::vector<Head> heads_;  // by layer
  std::vector<int64_t> left_;
  std::vector<LayerParts> layers_;
  std::vector<std::vector<double>> seconds_;  // [layer][worker]
  std::vector<LayerParts> best_;
  double least_ = std::numeric_limits<double>::infinity();
};

}  // namespace

std::optional<std::vector<LayerParts>> SearchAll(const PlacementModel& model) {
  return Search(model).Run();
}

}  // namespace headlong
