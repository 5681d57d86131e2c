#include "coordinator/placement_pack.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "coordinator/placement_fluid.h"

namespace headlong {
namespace {

constexpr int kSearchSteps = 200000;  // of the complete search

// Who holds how many heads of each kind, all layers together, and the heads that are split.
struct Totals {
  std::vector<std::vector<int64_t>> whole;  // [kind][worker]
  std::vector<LayerParts> split;            // parts of one head each, layer and slot not yet chosen
  std::vector<int64_t> left;
};

std::vector<int64_t> HeadsByKind(const PlacementModel& model) {
  std::vector<int64_t> heads(model.kinds().size(), 0);
  for (int layer = 0; layer < model.layers(); ++layer) {
    for (size_t kind = 0; kind < heads.size(); ++kind) heads[kind] += model.heads(layer, kind);
  }
  return heads;
}

enum class Fit { kMostRoom, kTightest };

struct Strategy {
  bool full_first = true;
  Fit fit = Fit::kMostRoom;
  int stripes = 1;  // a head that fits nowhere is split into so many
};

class Packer {
 public:
  Packer(const PlacementModel& model, const Strategy& strategy)
      : model_(model), strategy_(strategy) {
    totals_.left = model.room();
    totals_.whole.assign(model.kinds().size(), std::vector<int64_t>(model.workers(), 0));
  }

  std::optional<Totals> Run() {
    std::vector<int> order(model_.kinds().size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      const HeadKind& x = model_.kinds()[a];
      const HeadKind& y = model_.kinds()[b];
      if (x.full != y.full) return x.full == strategy_.full_first;
      return x.bytes() > y.bytes();
    });
    const std::vector<int64_t> heads = HeadsByKind(model_);
    for (int kind : order) {
      for (int64_t i = 0; i < heads[kind]; ++i) {
        if (!PlaceWhole(kind) && !(model_.kinds()[kind].full && Split(kind))) return std::nullopt;
      }
    }
    if (!FluidFits(model_, totals_.left)) return std::nullopt;
    return std::move(totals_);
  }

 private:
  bool PlaceWhole(int kind) {
    const int64_t bytes = model_.kinds()[kind].bytes();
    int best = -1;
    for (int i = 0; i < model_.workers(); ++i) {
      if (totals_.left[i] < bytes) continue;
      const bool better =
          best < 0 || (strategy_.fit == Fit::kMostRoom ? totals_.left[i] > totals_.left[best]
                                                       : totals_.left[i] < totals_.left[best]);
      if (better) best = i;
    }
    if (best < 0) return false;
    totals_.left[best] -= bytes;
    ++totals_.whole[kind][best];
    return true;
  }

  // Over the workers with most room.
  bool Split(int kind) {
    const int of = strategy_.stripes;
    if (of < 2) return false;
    std::vector<int> order(model_.workers());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return totals_.left[a] > totals_.left[b]; });
    LayerParts parts;
    int begin = 0;
    for (int i : order) {
      int count = of - begin;
      const auto fits = [&](int stripes) {
        return model_.PartBytes(kind, {of, begin, stripes}) <= totals_.left[i];
      };
      int none = 0;  // bisection: `none` fits (or is nothing), beyond `count` nothing is tried
      while (none < count) {
        const int middle = (none + count + 1) / 2;
        (fits(middle) ? none : count) = fits(middle) ? middle : middle - 1;
      }
      if (count < 1) continue;
      parts.push_back({kind, 0, i, {of, begin, count}});
      begin += count;
      if (begin == of) break;
    }
    if (begin < of) return false;
    for (const HeadPart& part : parts) {
      totals_.left[part.worker] -= model_.PartBytes(kind, part.stripes);
    }
    totals_.split.push_back(std::move(parts));
    return true;
  }

  const PlacementModel& model_;
  const Strategy strategy_;
  Totals totals_;
};

// Every way to give workers one after the other numbers of whole heads, until one fits.
class Search {
 public:
  explicit Search(const PlacementModel& model) : model_(model), open_(HeadsByKind(model)) {
    totals_.left = model.room();
    totals_.whole.assign(model.kinds().size(), std::vector<int64_t>(model.workers(), 0));
  }

  std::optional<Totals> Run() {
    if (Worker(0)) return std::move(totals_);
    return std::nullopt;
  }

 private:
  bool Worker(int i) { return i < model_.workers() ? Kind(i, 0) : Complete(); }

  bool Complete() {
    return std::all_of(open_.begin(), open_.end(), [](int64_t heads) { return heads == 0; }) &&
           FluidFits(model_, totals_.left);
  }

  bool Kind(int i, size_t kind) {
    if (kind == open_.size()) return Worker(i + 1);
    if (++steps_ > kSearchSteps) return false;
    const int64_t bytes = model_.kinds()[kind].bytes();
    const int64_t most = std::min(open_[kind], std::max<int64_t>(totals_.left[i], 0) / bytes);
    // The last worker takes what is left.
    const int64_t least = i + 1 == model_.workers() ? open_[kind] : 0;
    for (int64_t heads = most; heads >= least; --heads) {
      Give(i, kind, heads);
      if (Kind(i, kind + 1)) return true;
      Give(i, kind, -heads);
    }
    return false;
  }

  void Give(int i, size_t kind, int64_t heads) {
    open_[kind] -= heads;
    totals_.whole[kind][i] += heads;
    totals_.left[i] -= heads * model_.kinds()[kind].bytes();
  }

  const PlacementModel& model_;
  std::vector<int64_t> open_;
  Totals totals_;
  int steps_ = 0;
};

// Gives every layer its heads so that each worker's are spread evenly.
std::vector<LayerParts> LayOut(const PlacementModel& model, Totals totals) {
  std::vector<LayerParts> layers(model.layers());
  const std::vector<int64_t> heads = HeadsByKind(model);
  for (size_t kind = 0; kind < heads.size(); ++kind) {
    std::vector<int> open;  // heads of a layer that are not split
    for (int layer = 0; layer < model.layers(); ++layer) open.push_back(model.heads(layer, kind));
    for (LayerParts& parts : totals.split) {
      if (parts.front().kind != static_cast<int>(kind)) continue;
      const size_t layer = std::max_element(open.begin(), open.end()) - open.begin();
      const int slot = --open[layer];
      for (HeadPart part : parts) {
        part.slot = slot;
        layers[layer].push_back(part);
      }
    }
    const std::vector<int64_t>& quota = totals.whole[kind];
    const int64_t all = std::accumulate(quota.begin(), quota.end(), int64_t{0});
    std::vector<int64_t> given(quota.size(), 0);
    int64_t done = 0;
    for (int layer = 0; layer < model.layers(); ++layer) {
      for (int slot = 0; slot < open[layer]; ++slot) {
        ++done;
        int best = -1;
        for (int i = 0; i < model.workers(); ++i) {
          if (given[i] >= quota[i]) continue;
          const auto owed = [&](int worker) { return quota[worker] * done - given[worker] * all; };
          if (best < 0 || owed(i) > owed(best)) best = i;
        }
        ++given[best];
        layers[layer].push_back({static_cast<int>(kind), slot, best, {}});
      }
    }
  }
  return layers;
}

}  // namespace

std::optional<std::vector<LayerParts>> PackByMemory(const PlacementModel& model, bool stripes) {
  int64_t room = 0;
  for (int64_t bytes : model.room()) room += bytes;
  if (room < model.TotalBytes()) return std::nullopt;
  const auto pages = static_cast<int>(std::min<int64_t>(
      kMaxStripes, (model.problem().max_context + kFullPageTokens - 1) / kFullPageTokens));
  std::set<int> numbers{1};
  if (stripes) numbers.insert({std::min(pages, 16), std::min(pages, 64), pages});
  for (int number : numbers) {
    for (const bool full_first : {true, false}) {
      for (const Fit fit : {Fit::kMostRoom, Fit::kTightest}) {
        std::optional<Totals> totals = Packer(model, {full_first, fit, number}).Run();
        if (totals) return LayOut(model, *std::move(totals));
      }
    }
  }
  if (std::optional<Totals> totals = Search(model).Run()) return LayOut(model, *std::move(totals));
  return std::nullopt;
}

}  // namespace headlong
