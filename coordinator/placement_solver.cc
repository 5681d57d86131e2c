#include "coordinator/placement_solver.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "coordinator/placement_layer.h"
#include "coordinator/placement_pack.h"
#include "coordinator/placement_search.h"

namespace headlong {
namespace {

constexpr int kSweeps = 3;
constexpr double kPays = 1 - 1e-9;  // a change is taken when the time falls below so much of it

// A placement in the making. Layers may be open (without parts).
class State {
 public:
  State(const PlacementModel& model, bool stripes)
      : model_(model),
        stripes_(stripes),
        left_(model.room()),
        layers_(model.layers()),
        seconds_(model.layers(), 0) {}

  bool PlaceAll() {
    std::vector<int> order(model_.layers());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return model_.LayerBytes(a) > model_.LayerBytes(b); });
    int64_t open = model_.TotalBytes();
    for (int layer : order) {
      std::optional<LayerParts> parts = Placed(layer, open);
      if (!parts) return false;
      Put(layer, *std::move(parts));
      open -= model_.LayerBytes(layer);
    }
    return std::isfinite(model_.FluidStepSeconds(left_));
  }

  void Take(std::vector<LayerParts> layers) {
    for (int layer = 0; layer < model_.layers(); ++layer) Put(layer, std::move(layers[layer]));
  }

  void Sweep() {
    double fluid = model_.FluidStepSeconds(left_);
    for (int round = 0; round < kSweeps; ++round) {
      bool changed = false;
      for (int layer = 0; layer < model_.layers(); ++layer) changed |= PlaceAnew(layer, fluid);
      if (!changed) return;
    }
  }

  std::optional<Solution> Finish() && {
    std::optional<FluidShares> fluid = DivideFluid(model_, left_);
    if (!fluid) return std::nullopt;
    Solution solution;
    solution.seconds = std::accumulate(seconds_.begin(), seconds_.end(), 0.0) +
                       FluidSeconds(model_, *fluid) + model_.SumsSeconds() + model_.FixedSeconds();
    solution.layers = std::move(layers_);
    solution.left = std::move(left_);
    solution.fluid = *std::move(fluid);
    return solution;
  }

  bool short_of_memory() const { return short_of_memory_; }
  const PlacementModel& model() const { return model_; }
  const std::vector<LayerParts>& layers() const { return layers_; }
  const std::vector<int64_t>& left() const { return left_; }
  double Seconds() const {
    return std::accumulate(seconds_.begin(), seconds_.end(), 0.0) + model_.FluidStepSeconds(left_);
  }

  void Put(int layer, LayerParts parts) {
    for (const HeadPart& part : layers_[layer]) {
      left_[part.worker] += model_.PartBytes(part.kind, part.stripes);
    }
    layers_[layer] = std::move(parts);
    for (const HeadPart& part : layers_[layer]) {
      left_[part.worker] -= model_.PartBytes(part.kind, part.stripes);
    }
    seconds_[layer] = model_.LayerSeconds(layers_[layer]);
  }

 private:
  // How the layer would be placed while `open` bytes (its own among them) have no place yet.
  std::optional<LayerParts> Placed(int layer, int64_t open) {
    std::vector<double> speeds;
    for (int i = 0; i < model_.workers(); ++i) speeds.push_back(model_.Speed(i));
    double level = FillLevel(static_cast<double>(open), speeds, left_);
    if (!std::isfinite(level)) {  // stripes have taken room for projections
      level = 0;
      for (int i = 0; i < model_.workers(); ++i) {
        level = std::max(level, static_cast<double>(left_[i]) / speeds[i]);
      }
    }
    std::vector<double> slow;
    double unlimited = 0;
    for (int i = 0; i < model_.workers(); ++i) {
      const double room = static_cast<double>(std::max<int64_t>(left_[i], 1));
      slow.push_back(std::max(1.0, speeds[i] * level / room));
      if (slow[i] <= 1 + 1e-9) {
        unlimited += speeds[i];
      } else {
        short_of_memory_ = true;
      }
    }
    LayerTask task;
    task.model = &model_;
    task.layer = layer;
    task.slow = slow;
    task.left = left_;
    const double fastest = *std::max_element(speeds.begin(), speeds.end());
    task.byte_price = 1 / std::max(unlimited, fastest / (8 * model_.workers()));
    if (unlimited >= std::accumulate(speeds.begin(), speeds.end(), 0.0) * (1 - 1e-9)) {
      task.byte_price = 0;
    }
    task.stripes = stripes_;
    return PlaceLayer(task);
  }

  bool PlaceAnew(int layer, double& fluid) {
    const LayerParts before = layers_[layer];
    const double seconds = seconds_[layer];
    Put(layer, {});
    std::optional<LayerParts> parts = Placed(layer, model_.LayerBytes(layer) + model_.FluidBytes());
    if (parts) {
      Put(layer, *std::move(parts));
      const double after = model_.FluidStepSeconds(left_);
      if (seconds_[layer] + after < (seconds + fluid) * kPays) {
        fluid = after;
        return true;
      }
    }
    Put(layer, before);
    return false;
  }

  const PlacementModel& model_;
  const bool stripes_;
  bool short_of_memory_ = false;
  std::vector<int64_t> left_;
  std::vector<LayerParts> layers_;
  std::vector<double> seconds_;
};

// Small problems: every change of one or two whole heads' workers, until none helps.
class PairSearch {
 public:
  explicit PairSearch(State& state) : state_(state) {}

  void Run() {
    constexpr int kRounds = 24;
    constexpr size_t kMost = 48;  // heads times workers
    Collect();
    if (spots_.size() * state_.model().workers() > kMost) return;
    for (int round = 0; round < kRounds && Improve(); ++round) Collect();
  }

 private:
  struct Spot {
    int layer = 0;
    size_t part = 0;
  };

  void Collect() {
    spots_.clear();
    for (int layer = 0; layer < state_.model().layers(); ++layer) {
      for (size_t part = 0; part < state_.layers()[layer].size(); ++part) {
        if (state_.layers()[layer][part].stripes.whole()) spots_.push_back({layer, part});
      }
    }
  }

  int WorkerOf(const Spot& spot) const { return state_.layers()[spot.layer][spot.part].worker; }

  void Move(const Spot& spot, int worker) {
    LayerParts parts = state_.layers()[spot.layer];
    parts[spot.part].worker = worker;
    state_.Put(spot.layer, std::move(parts));
  }

  bool Fits() const {
    return std::all_of(state_.left().begin(), state_.left().end(),
                       [](int64_t bytes) { return bytes >= 0; });
  }

  bool Improve() {
    const double before = state_.Seconds();
    const auto better = [&] { return Fits() && state_.Seconds() < before * kPays; };
    for (size_t a = 0; a < spots_.size(); ++a) {
      const int from = WorkerOf(spots_[a]);
      for (int to = 0; to < state_.model().workers(); ++to) {
        if (to == from) continue;
        Move(spots_[a], to);
        if (better()) return true;
        for (size_t b = a + 1; b < spots_.size(); ++b) {
          if (MovePays(spots_[b], better)) return true;
        }
      }
      Move(spots_[a], from);
    }
    return false;
  }

  template <typename Better>
  bool MovePays(const Spot& spot, const Better& better) {
    const int from = WorkerOf(spot);
    for (int to = 0; to < state_.model().workers(); ++to) {
      if (to == from) continue;
      Move(spot, to);
      if (better()) return true;
    }
    Move(spot, from);
    return false;
  }

  State& state_;
  std::vector<Spot> spots_;
};

}  // namespace

std::optional<Solution> Solve(const PlacementModel& model, bool stripes) {
  std::optional<std::vector<LayerParts>> packed = PackByMemory(model, stripes);
  if (!packed) return std::nullopt;
  std::optional<Solution> best;
  const auto offer = [&](State&& state) {
    state.Sweep();
    PairSearch(state).Run();
    std::optional<Solution> made = std::move(state).Finish();
    if (made && (!best || made->seconds < best->seconds * kPays)) best = std::move(made);
  };
  State first(model, stripes);
  const bool placed = first.PlaceAll();
  const bool tight = !placed || first.short_of_memory();
  if (placed) offer(std::move(first));
  if (tight || !best) {
    if (stripes) {
      State whole(model, /*stripes=*/false);
      if (whole.PlaceAll()) offer(std::move(whole));
    }
    State fallback(model, stripes);
    fallback.Take(*packed);
    offer(std::move(fallback));
  }
  if (std::optional<std::vector<LayerParts>> all = SearchAll(model)) {
    State searched(model, stripes);
    searched.Take(*std::move(all));
    offer(std::move(searched));
  }
  if (!best) {  // sweeps took the last room that whole units need
    State packed_only(model, stripes);
    packed_only.Take(*std::move(packed));
    best = std::move(packed_only).Finish();
  }
  return best;
}

}  // namespace headlong
