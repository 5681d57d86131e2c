#include "coordinator/placement_layer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <queue>
#include <utility>

namespace headlong {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr int kUsualStripes = 64;    // more only where a head has more owners
constexpr double kTolerance = 4e-3;  // of a share, by whole stripes
constexpr double kLeastShare = 0.4 / kMaxStripes;
constexpr int kBisections = 24;
constexpr double kPrecise = 2e-3;  // of the time poured within

// Parts of a layer in the making, with what each worker has taken on.
struct Taken {
  LayerParts parts;
  std::vector<double> seconds;  // by worker
  std::vector<int64_t> left;

  Taken(int workers, std::span<const int64_t> room)
      : seconds(workers, 0), left(room.begin(), room.end()) {}
  void Add(const PlacementModel& model, const HeadPart& part) {
    parts.push_back(part);
    seconds[part.worker] += model.PartSeconds(part.worker, part.kind, part.stripes);
    left[part.worker] -= model.PartBytes(part.kind, part.stripes);
  }
};

double Slowest(const LayerTask& task, const Taken& taken) {
  double slowest = 0;
  for (size_t i = 0; i < taken.seconds.size(); ++i) {
    slowest = std::max(slowest, taken.seconds[i] * task.slow[i]);
  }
  return slowest;
}

// Kinds from the longest to the shortest on the first worker.
std::vector<int> KindsByTime(const PlacementModel& model) {
  std::vector<int> order(model.kinds().size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return model.PartSeconds(0, a, {}) > model.PartSeconds(0, b, {});
  });
  return order;
}

// The worker that is done first with one more whole head; ties go to the one with most room.
bool AddWhole(const LayerTask& task, int kind, int slot, Taken& taken) {
  int best = -1;
  double least = kInfinite;
  for (int i = 0; i < task.model->workers(); ++i) {
    if (taken.left[i] < task.model->kinds()[kind].bytes()) continue;
    const double time = (taken.seconds[i] + task.model->PartSeconds(i, kind, {})) * task.slow[i];
    const bool ahead = best < 0 || time < least * (1 - 1e-9);
    const bool tie = best >= 0 && time <= least * (1 + 1e-9);
    if (!ahead && !(tie && taken.left[i] > taken.left[best])) continue;
    best = i;
    least = time;
  }
  if (best < 0) return false;
  taken.Add(*task.model, {kind, slot, best, {}});
  return true;
}

// Gives a part of the slowest worker away, or for a shorter one, while that helps.
class Exchange {
 public:
  Exchange(const LayerTask& task, Taken& taken) : task_(task), model_(*task.model), taken_(taken) {}

  void Run() {
    for (size_t round = 0; round < 4 * taken_.parts.size() && Improve(); ++round) {
    }
  }

 private:
  double Time(int worker, double change) const {
    return (taken_.seconds[worker] + change) * task_.slow[worker];
  }

  bool Improve() {
    int slowest = 0;
    for (int i = 1; i < model_.workers(); ++i) {
      if (Time(i, 0) > Time(slowest, 0)) slowest = i;
    }
    const double limit = Time(slowest, 0) * (1 - 1e-9);
    for (HeadPart& part : taken_.parts) {
      if (part.worker != slowest) continue;
      for (int to = 0; to < model_.workers(); ++to) {
        if (to != slowest && MovePays(part, to, limit)) return true;
      }
      for (HeadPart& other : taken_.parts) {
        if (other.worker != slowest && other.kind != part.kind && SwapPays(part, other, limit)) {
          return true;
        }
      }
    }
    return false;
  }

  double Seconds(int worker, int kind) const { return model_.PartSeconds(worker, kind, {}); }

  bool MovePays(HeadPart& part, int to, double limit) {
    const int64_t bytes = model_.kinds()[part.kind].bytes();
    if (taken_.left[to] < bytes || Time(to, Seconds(to, part.kind)) >= limit) return false;
    Shift(part, to);
    return true;
  }

  bool SwapPays(HeadPart& part, HeadPart& other, double limit) {
    const int from = part.worker;
    const int to = other.worker;
    const int64_t grows = model_.kinds()[part.kind].bytes() - model_.kinds()[other.kind].bytes();
    if (taken_.left[to] < grows || taken_.left[from] < -grows) return false;
    if (Time(to, Seconds(to, part.kind) - Seconds(to, other.kind)) >= limit) return false;
    if (Time(from, Seconds(from, other.kind) - Seconds(from, part.kind)) >= limit) return false;
    Shift(part, to);
    Shift(other, from);
    return true;
  }

  void Shift(HeadPart& part, int to) {
    const int64_t bytes = model_.kinds()[part.kind].bytes();
    taken_.seconds[part.worker] -= Seconds(part.worker, part.kind);
    taken_.left[part.worker] += bytes;
    part.worker = to;
    taken_.seconds[to] += Seconds(to, part.kind);
    taken_.left[to] -= bytes;
  }

  const LayerTask& task_;
  const PlacementModel& model_;
  Taken& taken_;
};

std::optional<Taken> PlaceWhole(const LayerTask& task) {
  Taken taken(task.model->workers(), task.left);
  for (int kind : KindsByTime(*task.model)) {
    for (int slot = 0; slot < task.model->heads(task.layer, kind); ++slot) {
      if (!AddWhole(task, kind, slot, taken)) return std::nullopt;
    }
  }
  Exchange(task, taken).Run();
  return taken;
}

struct Share {
  int worker = 0;
  double share = 0;
};

// Pours the retrieval heads over workers so that none works longer than a given time.
class Pouring {
 public:
  explicit Pouring(const LayerTask& task)
      : task_(task), model_(*task.model), locals_(model_.workers(), task.left) {}

  // Local heads first; false when they do not fit.
  bool PlaceLocals() {
    for (int kind : KindsByTime(model_)) {
      const int heads = model_.heads(task_.layer, kind);
      if (model_.kinds()[kind].full) {
        for (int slot = 0; slot < heads; ++slot) full_.push_back({kind, slot});
        continue;
      }
      for (int slot = 0; slot < heads; ++slot) {
        if (!AddWhole(task_, kind, slot, locals_)) return false;
      }
    }
    return !full_.empty();
  }

  // The owners of every retrieval head within time t, empty when that is too short.
  std::vector<std::vector<Share>> Owners(double t) {
    left_ = locals_.left;
    seconds_ = locals_.seconds;
    Queue queue;
    for (int i = 0; i < model_.workers(); ++i) Push(queue, i, t);
    std::vector<std::vector<Share>> owners(full_.size());
    std::vector<size_t> split;
    for (size_t head = 0; head < full_.size(); ++head) {
      if (!queue.empty() && queue.top().first >= 1) {
        owners[head].push_back(Pop(queue, t, 1));
      } else {
        split.push_back(head);
      }
    }
    for (size_t head : split) {
      double open = 1;
      std::vector<int> used;
      while (open > 1e-9) {
        if (queue.empty()) return {};
        owners[head].push_back(Take(queue, t, open));
        open -= owners[head].back().share;
        used.push_back(owners[head].back().worker);
      }
      // What the last owner has left may serve the next head.
      Push(queue, used.back(), t);
    }
    return owners;
  }

  std::optional<Taken> Make(const std::vector<std::vector<Share>>& owners) const {
    Taken taken = locals_;
    const int pages = static_cast<int>(
        std::min<int64_t>(kMaxStripes, model_.problem().max_context / kFullPageTokens));
    for (size_t head = 0; head < full_.size(); ++head) {
      std::vector<double> shares;
      for (const Share& share : owners[head]) shares.push_back(share.share);
      if (static_cast<int>(shares.size()) > std::max(pages, 1)) return std::nullopt;
      const std::vector<int> counts =
          StripeCounts(shares, kTolerance, std::max(1, std::min(pages, kUsualStripes)));
      const int of = std::accumulate(counts.begin(), counts.end(), 0);
      int begin = 0;
      for (size_t i = 0; i < counts.size(); ++i) {
        StripeRange range{of, begin, counts[i]};
        if (range.whole()) range = {};
        taken.Add(model_, {full_[head].first, full_[head].second, owners[head][i].worker, range});
        begin += counts[i];
      }
    }
    for (int64_t left : taken.left) {
      if (left < 0) return std::nullopt;
    }
    return taken;
  }

 private:
  // Largest share first, then the lowest worker.
  using Entry = std::pair<double, int>;
  struct Smaller {
    bool operator()(const Entry& a, const Entry& b) const {
      return a.first != b.first ? a.first < b.first : a.second > b.second;
    }
  };
  using Queue = std::priority_queue<Entry, std::vector<Entry>, Smaller>;

  int kind() const { return full_.front().first; }

  // The share of a retrieval head that worker i could take within t.
  double Fits(int i, double t) const {
    const double time = t / task_.slow[i] - seconds_[i] - model_.WeightSeconds(i, kind());
    const int64_t bytes = left_[i] - model_.kinds()[kind()].weight_bytes;
    if (time <= 0 || bytes <= 0) return 0;
    const auto reserved = static_cast<double>(model_.kinds()[kind()].reserved_bytes);
    return std::min(time / model_.LaneSeconds(i, kind()), static_cast<double>(bytes) / reserved);
  }

  void Push(Queue& queue, int i, double t) const {
    const double share = Fits(i, t);
    if (share >= kLeastShare) queue.push({share, i});
  }

  Share Take(Queue& queue, double, double open) {
    const auto [fits, i] = queue.top();
    queue.pop();
    const double share = std::min(fits, open);
    seconds_[i] += model_.WeightSeconds(i, kind()) + share * model_.LaneSeconds(i, kind());
    left_[i] -= model_.kinds()[kind()].weight_bytes +
                static_cast<int64_t>(
                    std::ceil(share * static_cast<double>(model_.kinds()[kind()].reserved_bytes)));
    return {i, share};
  }

  Share Pop(Queue& queue, double t, double open) {
    const Share share = Take(queue, t, open);
    Push(queue, share.worker, t);
    return share;
  }

  const LayerTask& task_;
  const PlacementModel& model_;
  Taken locals_;
  std::vector<std::pair<int, int>> full_;  // kind and slot
  std::vector<double> seconds_;
  std::vector<int64_t> left_;
};

// The shortest time within which the layer can be poured, between the fluid one and `most`.
std::optional<Taken> PlaceStriped(const LayerTask& task, double most) {
  Pouring pouring(task);
  if (!pouring.PlaceLocals()) return std::nullopt;
  double too_short = 0;
  double enough = std::isfinite(most) ? most : 1e-6;
  std::vector<std::vector<Share>> best = pouring.Owners(enough);
  for (int grow = 0; best.empty() && !std::isfinite(most) && grow < 60; ++grow) {
    too_short = enough;
    best = pouring.Owners(enough *= 2);
  }
  if (best.empty()) return std::nullopt;
  for (int i = 0; i < kBisections && enough - too_short > kPrecise * enough; ++i) {
    const double middle = (too_short + enough) / 2;
    std::vector<std::vector<Share>> owners = pouring.Owners(middle);
    if (owners.empty()) {
      too_short = middle;
    } else {
      enough = middle;
      best = std::move(owners);
    }
  }
  return pouring.Make(best);
}

double Cost(const LayerTask& task, const Taken& taken) {
  int split = 0;
  int64_t bytes = 0;
  for (const HeadPart& part : taken.parts) {
    split += !part.stripes.whole() && part.stripes.begin == 0;
    bytes += task.model->PartBytes(part.kind, part.stripes);
  }
  return Slowest(task, taken) + task.model->ExchangeSeconds(split) +
         task.byte_price * static_cast<double>(bytes);
}

}  // namespace

std::vector<int> StripeCounts(const std::vector<double>& shares, double tolerance, int most) {
  const int owners = static_cast<int>(shares.size());
  std::vector<int> best;
  double best_error = kInfinite;
  for (int of = owners; of <= std::max(most, std::min(2 * owners, kMaxStripes)); ++of) {
    std::vector<int> counts(owners, 1);
    std::vector<std::pair<double, int>> wanting;  // how much more a share asks for
    int left = of - owners;
    for (int i = 0; i < owners; ++i) {
      const int more = std::min(left, std::max(0, static_cast<int>(shares[i] * of) - 1));
      counts[i] += more;
      left -= more;
      wanting.push_back({counts[i] - shares[i] * of, i});
    }
    std::sort(wanting.begin(), wanting.end());
    for (int i = 0; left > 0; i = (i + 1) % owners, --left) ++counts[wanting[i].second];
    double error = 0;
    for (int i = 0; i < owners; ++i) {
      error = std::max(error, static_cast<double>(counts[i]) / of - shares[i]);
    }
    if (error < best_error * (1 - 1e-9)) {
      best_error = error;
      best = std::move(counts);
    }
    if (best_error <= tolerance * *std::max_element(shares.begin(), shares.end())) break;
  }
  return best;
}

std::optional<LayerParts> PlaceLayer(const LayerTask& task) {
  std::optional<Taken> whole = PlaceWhole(task);
  if (!task.stripes) return whole ? std::optional(std::move(whole->parts)) : std::nullopt;
  std::optional<Taken> striped = PlaceStriped(task, whole ? Slowest(task, *whole) : kInfinite);
  if (striped && (!whole || Cost(task, *striped) < Cost(task, *whole) * (1 - 1e-9))) {
    return std::move(striped->parts);
  }
  if (whole) return std::move(whole->parts);
  return std::nullopt;
}

}  // namespace headlong
