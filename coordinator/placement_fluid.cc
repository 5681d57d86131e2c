#include "coordinator/placement_fluid.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "coordinator/placement_shares.h"

namespace headlong {
namespace {

constexpr int64_t kSmallTable = 1 << 16;  // entries of the exact table

std::vector<double> WeightSpeeds(const PlacementModel& model) {
  std::vector<double> speeds;
  for (int i = 0; i < model.workers(); ++i) speeds.push_back(1 / model.FluidSeconds(i, 1));
  return speeds;
}

std::vector<int64_t> Caps(std::span<const int64_t> left, int64_t unit_bytes) {
  std::vector<int64_t> caps;
  for (int64_t bytes : left) caps.push_back(std::max<int64_t>(bytes, 0) / unit_bytes);
  return caps;
}

std::vector<int64_t> Without(std::span<const int64_t> left, const std::vector<int64_t>& units,
                             int64_t unit_bytes) {
  std::vector<int64_t> rest(left.begin(), left.end());
  for (size_t i = 0; i < rest.size(); ++i) rest[i] -= units[i] * unit_bytes;
  return rest;
}

double Slowest(const PlacementModel& model, const FluidShares& shares) {
  double columns = 0;
  double rows = 0;
  for (int i = 0; i < model.workers(); ++i) {
    const auto read = [&](int64_t units, const FluidPart& part) {
      return model.FluidSeconds(i, static_cast<double>(units * part.unit_read));
    };
    columns = std::max(columns, read(shares.columns[i], model.columns()));
    rows = std::max(rows, read(shares.rows[i], model.rows()));
  }
  return columns + rows;
}

// Rows by `weights`, then columns by speed in what is left.
std::optional<FluidShares> Divide(const PlacementModel& model, std::span<const int64_t> left,
                                  const std::vector<double>& weights) {
  FluidShares shares;
  shares.rows = Apportion(model.rows().units, weights, Caps(left, model.rows().unit_bytes));
  if (shares.rows.empty()) return std::nullopt;
  const std::vector<int64_t> rest = Without(left, shares.rows, model.rows().unit_bytes);
  shares.columns =
      Apportion(model.columns().units, WeightSpeeds(model), Caps(rest, model.columns().unit_bytes));
  if (shares.columns.empty()) return std::nullopt;
  return shares;
}

// Worker by worker, rows before columns: wastes less than one unit of each.
std::optional<FluidShares> FillInOrder(const PlacementModel& model, std::span<const int64_t> left) {
  FluidShares shares;
  int64_t rows = model.rows().units;
  int64_t columns = model.columns().units;
  for (int64_t bytes : left) {
    bytes = std::max<int64_t>(bytes, 0);
    shares.rows.push_back(std::min(rows, bytes / model.rows().unit_bytes));
    rows -= shares.rows.back();
    bytes -= shares.rows.back() * model.rows().unit_bytes;
    shares.columns.push_back(std::min(columns, bytes / model.columns().unit_bytes));
    columns -= shares.columns.back();
  }
  if (rows > 0 || columns > 0) return std::nullopt;
  return shares;
}

// most[i][r]: columns that workers [0, i) can take beside r rows; exact, for small models.
std::optional<FluidShares> FillExactly(const PlacementModel& model, std::span<const int64_t> left) {
  const int64_t rows = model.rows().units;
  const int64_t workers = model.workers();
  if (rows * rows * workers > kSmallTable * 16) return std::nullopt;
  constexpr int64_t kNone = std::numeric_limits<int64_t>::min() / 2;
  std::vector<std::vector<int64_t>> most(workers + 1, std::vector<int64_t>(rows + 1, kNone));
  std::vector<std::vector<int64_t>> taken(workers + 1, std::vector<int64_t>(rows + 1, 0));
  most[0][0] = 0;
  for (int64_t i = 0; i < workers; ++i) {
    for (int64_t before = 0; before <= rows; ++before) {
      if (most[i][before] < 0) continue;
      for (int64_t more = 0; before + more <= rows; ++more) {
        const int64_t rest = std::max<int64_t>(left[i], 0) - more * model.rows().unit_bytes;
        if (rest < 0) break;
        const int64_t columns = most[i][before] + rest / model.columns().unit_bytes;
        if (columns <= most[i + 1][before + more]) continue;
        most[i + 1][before + more] = columns;
        taken[i + 1][before + more] = more;
      }
    }
  }
  if (most[workers][rows] < model.columns().units) return std::nullopt;
  FluidShares shares{std::vector<int64_t>(workers), std::vector<int64_t>(workers)};
  int64_t row = rows;
  for (int64_t i = workers; i > 0; --i) {
    shares.rows[i - 1] = taken[i][row];
    row -= taken[i][row];
  }
  shares.columns = Apportion(
      model.columns().units, WeightSpeeds(model),
      Caps(Without(left, shares.rows, model.rows().unit_bytes), model.columns().unit_bytes));
  return shares;
}

}  // namespace

std::optional<FluidShares> DivideFluid(const PlacementModel& model, std::span<const int64_t> left) {
  const std::vector<double> speeds = WeightSpeeds(model);
  const double level = FillLevel(static_cast<double>(model.FluidBytes()), speeds, left);
  if (!std::isfinite(level)) return std::nullopt;
  std::optional<FluidShares> best;
  double least = std::numeric_limits<double>::infinity();
  const auto offer = [&](std::optional<FluidShares> shares) {
    if (!shares) return;
    const double time = Slowest(model, *shares);
    if (time >= least) return;
    least = time;
    best = std::move(shares);
  };
  // Rows hold more memory than a step reads of them: where memory is short they may cost less
  // elsewhere.
  for (const double part : {1.0, 0.75, 0.5, 0.25, 0.0}) {
    std::vector<double> weights = speeds;
    bool short_of_memory = false;
    for (size_t i = 0; i < weights.size(); ++i) {
      const double share = static_cast<double>(std::max<int64_t>(left[i], 0)) / level;
      if (share >= speeds[i]) continue;
      weights[i] = part * share;
      short_of_memory = true;
    }
    offer(Divide(model, left, weights));
    if (!short_of_memory) break;
  }
  if (!best) offer(FillInOrder(model, left));
  if (!best) offer(FillExactly(model, left));
  return best;
}

bool FluidFits(const PlacementModel& model, std::span<const int64_t> left) {
  int64_t room = 0;
  for (int64_t bytes : left) {
    if (bytes < 0) return false;
    room += bytes;
  }
  if (room < model.FluidBytes()) return false;
  return FillInOrder(model, left) || FillExactly(model, left);
}

std::vector<std::vector<int64_t>> SpreadOverLayers(const std::vector<int64_t>& totals, int layers) {
  const int64_t all = std::accumulate(totals.begin(), totals.end(), int64_t{0});
  const int64_t per_layer = all / layers;
  std::vector<int64_t> given(totals.size(), 0);
  std::vector<std::vector<int64_t>> spread;
  for (int64_t layer = 1; layer <= layers; ++layer) {
    std::vector<int64_t> units(totals.size(), 0);
    std::vector<std::pair<int64_t, size_t>> owed;  // what is owed beyond whole units, in 1/layers
    int64_t open = per_layer;
    for (size_t i = 0; i < totals.size(); ++i) {
      const int64_t due = totals[i] * layer - given[i] * layers;
      units[i] = std::min(open, std::max<int64_t>(0, due / layers));
      open -= units[i];
      owed.push_back({units[i] * layers - due, i});
    }
    std::sort(owed.begin(), owed.end());
    // The workers owed most first, none beyond its total.
    for (size_t k = 0; open > 0; k = (k + 1) % owed.size()) {
      const size_t i = owed[k].second;
      if (given[i] + units[i] >= totals[i]) continue;
      ++units[i];
      --open;
    }
    for (size_t i = 0; i < totals.size(); ++i) given[i] += units[i];
    spread.push_back(std::move(units));
  }
  return spread;
}

}  // namespace headlong
