#include "coordinator/placement_bound.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace headlong {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

// Something that can be divided: its time on each worker, and its memory.
struct Commodity {
  double amount = 0;
  double bytes = 0;             // of memory, each
  std::vector<double> seconds;  // by worker, each
};

// Of a layer whose retrieval heads are split, or of one with whole heads, on as many workers.
double LayerBound(const PlacementModel& model, int layer, bool stripes) {
  const int workers = model.workers();
  const int kinds = static_cast<int>(model.kinds().size());
  int heads = 0;
  for (int kind = 0; kind < kinds; ++kind) heads += model.heads(layer, kind);
  // alone[i]: seconds of the layer on worker i alone. Prices are parts of it.
  std::vector<double> alone(workers, 0);
  for (int i = 0; i < workers; ++i) {
    for (int kind = 0; kind < kinds; ++kind) {
      alone[i] += model.heads(layer, kind) * model.PartSeconds(i, kind, {});
    }
  }
  double weight_price = kInfinite;
  double lanes = 0;
  double longest = 0;
  for (int kind = 0; kind < kinds; ++kind) {
    if (model.heads(layer, kind) == 0) continue;
    double lane_price = kInfinite;
    double least = kInfinite;
    for (int i = 0; i < workers; ++i) {
      weight_price = std::min(weight_price, model.WeightSeconds(i, kind) / alone[i]);
      lane_price = std::min(lane_price, model.LaneSeconds(i, kind) / alone[i]);
      const bool split = stripes && model.kinds()[kind].full;
      least =
          std::min(least, split ? model.WeightSeconds(i, kind) : model.PartSeconds(i, kind, {}));
    }
    lanes += model.heads(layer, kind) * lane_price;
    longest = std::max(longest, least);
  }
  std::vector<double> rates;
  for (double seconds : alone) rates.push_back(1 / seconds);
  std::sort(rates.rbegin(), rates.rend());
  double least = kInfinite;
  double rate = 0;
  const int most = stripes ? workers : std::min(workers, heads);
  for (int used = 1; used <= most; ++used) {
    rate += rates[used - 1];
    least = std::min(least, (std::max(heads, used) * weight_price + lanes) / rate);
  }
  return std::max(least, longest);
}

std::vector<Commodity> Commodities(const PlacementModel& model) {
  std::vector<Commodity> all;
  for (size_t kind = 0; kind < model.kinds().size(); ++kind) {
    Commodity heads;
    for (int layer = 0; layer < model.layers(); ++layer) heads.amount += model.heads(layer, kind);
    heads.bytes = static_cast<double>(model.kinds()[kind].bytes());
    for (int i = 0; i < model.workers(); ++i) {
      heads.seconds.push_back(model.PartSeconds(i, static_cast<int>(kind), {}));
    }
    all.push_back(std::move(heads));
  }
  for (const FluidPart* part : {&model.columns(), &model.rows()}) {
    Commodity fluid;
    fluid.amount = static_cast<double>(part->units);
    fluid.bytes = static_cast<double>(part->unit_bytes);
    for (int i = 0; i < model.workers(); ++i) {
      fluid.seconds.push_back(model.FluidSeconds(i, static_cast<double>(part->unit_read)));
    }
    all.push_back(std::move(fluid));
  }
  return all;
}

// Workers short of memory relative to their speed are paid for by the byte, the others by time.
double MemoryBound(const PlacementModel& model) {
  const std::vector<Commodity> all = Commodities(model);
  const int workers = model.workers();
  std::vector<double> rates(workers, 0);  // 1 / seconds of everything on this worker alone
  for (int i = 0; i < workers; ++i) {
    for (const Commodity& each : all) rates[i] += each.amount * each.seconds[i];
    rates[i] = 1 / rates[i];
  }
  std::vector<int> order(workers);
  std::iota(order.begin(), order.end(), 0);
  const auto tightness = [&](int i) { return static_cast<double>(model.room()[i]) / rates[i]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return tightness(a) > tightness(b); });
  // The first `timed` workers of the order are paid by time.
  std::vector<double> price(all.size(), kInfinite);  // of time, before division by the rate
  double paid_memory = 0;
  for (int64_t bytes : model.room()) paid_memory += static_cast<double>(bytes);
  double rate = 0;
  double best = 0;
  for (int timed = 1; timed <= workers; ++timed) {
    const int added = order[timed - 1];
    rate += rates[added];
    paid_memory -= static_cast<double>(model.room()[added]);
    for (size_t j = 0; j < all.size(); ++j) {
      price[j] = std::min(price[j], all[j].seconds[added] * rates[added]);
    }
    for (size_t chosen = 0; chosen < all.size(); ++chosen) {
      const double of_byte =
          timed == workers ? kInfinite : price[chosen] / rate / all[chosen].bytes;
      double bound = timed == workers ? 0 : -of_byte * paid_memory;
      for (size_t j = 0; j < all.size(); ++j) {
        bound += all[j].amount * std::min(price[j] / rate, of_byte * all[j].bytes);
      }
      best = std::max(best, bound);
    }
  }
  return best;
}

}  // namespace

double LowerBoundSeconds(const PlacementModel& model, bool stripes) {
  double split = 0;
  for (int layer = 0; layer < model.layers(); ++layer) {
    double bound = LayerBound(model, layer, /*stripes=*/false);
    if (stripes) {
      bound =
          std::min(bound, LayerBound(model, layer, /*stripes=*/true) + model.ExchangeSeconds(1));
    }
    split += bound;
  }
  double rate = 0;
  for (int i = 0; i < model.workers(); ++i) rate += 1 / model.FluidSeconds(i, 1);
  const FluidPart& columns = model.columns();
  const FluidPart& rows = model.rows();
  split +=
      static_cast<double>(columns.units * columns.unit_read + rows.units * rows.unit_read) / rate;
  return std::max(split, MemoryBound(model)) + model.SumsSeconds() + model.FixedSeconds();
}

}  // namespace headlong
