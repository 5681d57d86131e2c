#include "coordinator/placement_fluid.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "coordinator/placement_shares.h"

namespace headlong {
namespace {

constexpr int64_t kSmallTable = 1 << 16;  // entries of the exact table
constexpr double kLonger = 1.3;           // steps in which rows get more time
constexpr int kBisections = 16;

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

// Within given times for rows and for all columns. Rows go first where memory would stay empty.
std::optional<FluidShares> DivideWithin(const PlacementModel& model, std::span<const int64_t> left,
                                        double row_seconds, double column_seconds) {
  const int workers = model.workers();
  FluidShares shares{std::vector<int64_t>(workers), std::vector<int64_t>(workers)};
  const auto within = [&](double seconds, int i, const FluidPart& part) {
    const double units =
        seconds / model.FluidSeconds(i, static_cast<double>(part.unit_read)) * (1 + 1e-9);
    return static_cast<int64_t>(std::min(units, static_cast<double>(part.units)));
  };
  int64_t rows = model.rows().units;
  for (const bool spare_only : {true, false}) {
    for (int i = 0; i < workers && rows > 0; ++i) {
      int64_t bytes = left[i] - shares.rows[i] * model.rows().unit_bytes;
      if (spare_only)
        bytes -= within(column_seconds, i, model.columns()) * model.columns().unit_bytes;
      const int64_t most = std::min({rows, std::max<int64_t>(bytes, 0) / model.rows().unit_bytes,
                                     within(row_seconds, i, model.rows()) - shares.rows[i]});
      shares.rows[i] += std::max<int64_t>(most, 0);
      rows -= std::max<int64_t>(most, 0);
    }
  }
  if (rows > 0) return std::nullopt;
  const std::vector<int64_t> rest = Without(left, shares.rows, model.rows().unit_bytes);
  int64_t columns = model.columns().units;
  for (int i = 0; i < workers; ++i) {
    shares.columns[i] =
        std::min({columns, std::max<int64_t>(rest[i], 0) / model.columns().unit_bytes,
                  within(column_seconds, i, model.columns())});
    columns -= shares.columns[i];
  }
  if (columns > 0) return std::nullopt;
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
    const double time = FluidSeconds(model, *shares);
    if (time >= least) return;
    least = time;
    best = std::move(shares);
  };
  std::vector<double> weights = speeds;
  double total = 0;
  bool short_of_memory = false;
  for (size_t i = 0; i < weights.size(); ++i) {
    weights[i] = std::min(speeds[i], static_cast<double>(std::max<int64_t>(left[i], 0)) / level);
    short_of_memory |= weights[i] < speeds[i];
    total += speeds[i];
  }
  offer(Divide(model, left, weights));
  // Rows hold more memory than a step reads of them: where memory is short, more time for them may
  // leave room for columns.
  const auto row_read = static_cast<double>(model.rows().units * model.rows().unit_read);
  const auto column_read = static_cast<double>(model.columns().units * model.columns().unit_read);
  for (double longer = 1.001; short_of_memory && longer < 40; longer *= kLonger) {
    double too_short = column_read / total;
    double enough = column_read / *std::min_element(speeds.begin(), speeds.end());
    if (!DivideWithin(model, left, longer * row_read / total, enough)) continue;
    for (int i = 0; i < kBisections; ++i) {
      const double middle = (too_short + enough) / 2;
      (DivideWithin(model, left, longer * row_read / total, middle) ? enough : too_short) = middle;
    }
    offer(DivideWithin(model, left, longer * row_read / total, enough));
  }
  if (!best) offer(FillInOrder(model, left));
  if (!best) offer(FillExactly(model, left));
  return best;
}

double FluidSeconds(const PlacementModel& model, const FluidShares& shares) {
  const auto slowest = [&](const std::vector<int64_t>& units, const FluidPart& part) {
    double seconds = 0;
    for (int i = 0; i < model.workers(); ++i) {
      seconds =
          std::max(seconds, model.FluidSeconds(i, static_cast<double>(units[i] * part.unit_read)));
    }
    return seconds;
  };
  double seconds = slowest(shares.rows, model.rows());
  for (const auto& units : SpreadOverLayers(shares.columns, model.layers())) {
    seconds += slowest(units, model.columns());
  }
  return seconds;
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
