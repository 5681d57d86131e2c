#include "tests/worker/stripe_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "common/status.h"
#include "tests/support/local_head_reference.h"
#include "tests/support/stored_row.h"

namespace headlong {
namespace {

constexpr int kHeads = 2;

int Int(std::mt19937_64& random, int low, int high) {
  return std::uniform_int_distribution<int>(low, high)(random);
}

// [0, of) cut into `owners` ranges of at least one stripe.
std::vector<StripeRange> RandomRanges(std::mt19937_64& random, int owners, int of) {
  std::vector<int> cuts(of - 1);
  std::iota(cuts.begin(), cuts.end(), 1);
  std::shuffle(cuts.begin(), cuts.end(), random);
  cuts.resize(owners - 1);
  std::sort(cuts.begin(), cuts.end());
  cuts.push_back(of);
  std::vector<StripeRange> ranges;
  for (int begin = 0; const int end : cuts) {
    ranges.push_back({of, begin, end - begin});
    begin = end;
  }
  return ranges;
}

// One worker: its lanes, tables and device.
struct Owner {
  std::vector<HeldLane> lanes;  // of layer 0
  std::vector<LaneClass> classes;
  std::unique_ptr<LaneTables> tables;
  std::unique_ptr<StripeDevice> device;
  int heads() const { return static_cast<int>(lanes.size()); }
};

class Workers {
 public:
  Workers(const StripeCase& c, const MakeStripeDevice& make, std::mt19937_64& random)
      : case_(c), plan_(Plan::Full(1, kHeads)), owners_(c.owners + 1) {
    const auto of = [&] { return Int(random, c.owners, std::max(c.owners, c.most_stripes)); };
    std::vector<StripeRange> ranges[kHeads] = {
        c.ranges.empty() ? RandomRanges(random, c.owners, of()) : c.ranges,
        RandomRanges(random, Int(random, 1, c.owners), of())};
    std::shuffle(ranges[0].begin(), ranges[0].end(), random);
    std::shuffle(ranges[1].begin(), ranges[1].end(), random);
    LayerStripes layer;
    for (int head = 0; head < kHeads; ++head) {
      for (size_t worker = 0; worker < ranges[head].size(); ++worker) {
        const StripeRange& range = ranges[head][worker];
        owners_[worker].lanes.push_back({{0, head}, range.whole() ? StripeRange{} : range});
      }
    }
    for (size_t worker = 0; worker < owners_.size(); ++worker) Begin(worker, ranges, make);
  }

  int parts() const { return parts_; }
  const std::vector<Owner>& owners() const { return owners_; }

  void Start(uint64_t id) {
    for (Owner& owner : owners_) ASSERT_TRUE(owner.tables->Start(id, case_.positions).ok());
  }

  // Outputs of both heads, summed over the workers: [rows][heads * group * head_dim].
  std::vector<float> Run(const Batch& batch, const std::vector<float>& rows) {
    const int count = batch.rows();
    std::vector<std::vector<float>> outs;
    std::vector<float> logs(static_cast<size_t>(parts_) * count * case_.group, 0);
    for (Owner& owner : owners_) {
      for (const Chunk& chunk : batch.chunks) EXPECT_TRUE(owner.tables->Advance(chunk, 0).ok());
      owner.device->BeginBatch(batch, *owner.tables);
      outs.push_back(owner.device->Run(Held(owner, rows, count), count));
      const std::vector<float> own = owner.device->LogSums(count);
      for (size_t i = 0; i < logs.size(); ++i) logs[i] += own[i];
    }
    std::vector<float> all(static_cast<size_t>(count) * kHeads * head_floats(), 0);
    for (Owner& owner : owners_) {
      const std::vector<float> out = owner.device->Scaled(logs, count);
      for (int row = 0; row < count; ++row) {
        for (int h = 0; h < owner.heads(); ++h) {
          const float* from = &out[(int64_t{row} * owner.heads() + h) * head_floats()];
          float* to = &all[(int64_t{row} * kHeads + owner.lanes[h].id.head) * head_floats()];
          for (int i = 0; i < head_floats(); ++i) to[i] += from[i];
        }
      }
      for (const Chunk& chunk : batch.chunks) owner.tables->Commit(chunk.sequence_id);
      EXPECT_TRUE(owner.tables->Balanced());
    }
    return all;
  }

 private:
  int head_floats() const { return case_.group * case_.head_dim; }

  void Begin(size_t worker, const std::vector<StripeRange> (&ranges)[kHeads],
             const MakeStripeDevice& make) {
    Owner& owner = owners_[worker];
    AttentionShape shape;
    shape.head_dim = case_.head_dim;
    shape.group = case_.group;
    shape.heads.resize(1);
    shape.stripes.resize(1);
    parts_ = 0;
    for (int head = 0; head < kHeads; ++head) {
      const bool holds = worker < ranges[head].size();
      const auto count = static_cast<int32_t>(ranges[head].size());
      if (count > 1 && holds) {
        shape.stripes[0].own.push_back({static_cast<int32_t>(shape.heads[0].size()),
                                        parts_ + static_cast<int32_t>(worker), parts_, count});
      }
      if (holds) shape.heads[0].push_back(head);
      parts_ += count > 1 ? count : 0;
    }
    shape.stripes[0].parts = parts_;
    shape.inverse_frequencies.assign(case_.head_dim / 2, 0.0f);  // nothing is rotated
    shape.max_context = case_.positions;
    shape.max_rows = case_.max_rows;
    owner.classes = BuildLaneClasses(plan_, owner.lanes);
    CacheShape cache;
    cache.plan = &plan_;
    cache.classes = &owner.classes;
    cache.max_sequences = case_.sequences;
    cache.storage = case_.storage;
    for (const LaneClass& lane_class : owner.classes) {
      const LaneRule rule = lane_class.rule(plan_, case_.positions);
      cache.class_pages.push_back(
          static_cast<int32_t>(case_.sequences * PagesReserved(rule, case_.positions)));
    }
    owner.tables =
        std::make_unique<LaneTables>(plan_, owner.classes, cache.class_pages, case_.sequences);
    owner.device = make(shape, cache);
  }

  // [rows][q | k | v of the owner's heads] from those of both heads.
  std::vector<float> Held(const Owner& owner, const std::vector<float>& rows, int count) const {
    const int d = case_.head_dim, group = case_.group;
    const int64_t columns = int64_t{kHeads} * (group + 2) * d;
    std::vector<float> held;
    for (int row = 0; row < count; ++row) {
      const auto from = rows.begin() + row * columns;
      const auto take = [&](int64_t first, int n) {
        held.insert(held.end(), from + first, from + first + n);
      };
      for (const HeldLane& lane : owner.lanes) take(lane.id.head * group * d, group * d);
      for (const HeldLane& lane : owner.lanes) take((kHeads * group + lane.id.head) * d, d);
      for (const HeldLane& lane : owner.lanes) take((kHeads * (group + 1) + lane.id.head) * d, d);
    }
    return held;
  }

  const StripeCase case_;
  const Plan plan_;
  std::vector<Owner> owners_;
  int32_t parts_ = 0;
};

double Difference(const StripeCase& c, const std::vector<float>& rows,
                  const std::vector<float>& out) {
  const int d = c.head_dim, columns = kHeads * (c.group + 2) * d;
  const auto take = [&](int first, bool rounded) {
    std::vector<float> part;
    for (int row = 0; row < c.positions; ++row) {
      for (int i = 0; i < d; ++i) {
        const float x = rows[int64_t{row} * columns + first + i];
        part.push_back(x);
      }
    }
    return rounded ? reference::StoredRow(part, StorageName(c.storage)) : part;
  };
  double worst = 0;
  for (int query = 0; query < kHeads * c.group; ++query) {
    const int head = query / c.group;
    const auto queries = take(query * d, false);
    const auto keys = take((kHeads * c.group + head) * d, true);
    const auto values = take((kHeads * (c.group + 1) + head) * d, true);
    reference::HeadRule rule;
    rule.retrieval = true;
    const auto expected = reference::Attend(rule, {d, queries, keys, values});
    for (size_t i = 0; i < expected.out.size(); ++i) {
      const double got = out[(i / d * kHeads * c.group + query) * d + i % d];
      const double difference =
          std::abs(got - expected.out[i]) / std::max(1.0, std::abs(expected.out[i]));
      worst = std::isnan(difference) ? std::numeric_limits<double>::infinity()
                                     : std::max(worst, difference);
    }
  }
  return worst;
}

}  // namespace

std::string Describe(const StripeCase& c) {
  return absl::StrCat(Av(StorageName(c.storage)), " head_dim ", c.head_dim, " group ", c.group,
                      " owners ", c.owners, " positions ", c.positions);
}

double StripeDifference(const StripeCase& c, const MakeStripeDevice& make,
                        std::mt19937_64& random) {
  Workers workers(c, make, random);
  const int64_t columns = int64_t{kHeads} * (c.group + 2) * c.head_dim;
  std::normal_distribution<float> normal;
  std::vector<std::vector<float>> rows(c.sequences), out(c.sequences);
  std::vector<int> at(c.sequences, 0);
  for (int s = 0; s < c.sequences; ++s) {
    rows[s].resize(c.positions * columns);
    for (float& x : rows[s]) x = normal(random);
    workers.Start(s);
  }
  for (bool more = true; more;) {
    Batch batch;
    batch.layer_end = 1;
    std::vector<float> batch_rows;
    for (int s = 0; s < c.sequences; ++s) {
      const int sizes[] = {1, 1, 3, 16, 63, 64, 65, 130};
      const int count =
          std::min({sizes[Int(random, 0, 7)], c.positions - at[s], c.max_rows - batch.rows()});
      if (count <= 0) continue;
      Chunk chunk{static_cast<uint64_t>(s), batch.rows(), count, at[s], false, false};
      for (int i = 0; i < count; ++i) batch.positions.push_back(at[s] + i);
      batch.tokens.resize(batch.tokens.size() + count);
      batch_rows.insert(batch_rows.end(), rows[s].begin() + at[s] * columns,
                        rows[s].begin() + (at[s] + count) * columns);
      batch.chunks.push_back(chunk);
      at[s] += count;
    }
    more = batch.rows() > 0;
    if (!more) break;
    const std::vector<float> got = workers.Run(batch, batch_rows);
    const int64_t width = int64_t{kHeads} * c.group * c.head_dim;
    for (const Chunk& chunk : batch.chunks) {
      std::vector<float>& to = out[chunk.sequence_id];
      to.insert(to.end(), got.begin() + chunk.first_row * width,
                got.begin() + (chunk.first_row + chunk.count) * width);
    }
  }
  double worst = 0;
  for (int s = 0; s < c.sequences; ++s) worst = std::max(worst, Difference(c, rows[s], out[s]));
  return worst;
}

StripeResult WorstOfRandomCases(Storage storage, const std::vector<int>& head_dims,
                                const MakeStripeDevice& make) {
  std::mt19937_64 random(20);
  StripeResult worst;
  for (int trial = 0; trial < 30; ++trial) {
    StripeCase c;
    c.storage = storage;
    c.head_dim = head_dims[trial % head_dims.size()];
    c.group = 1 + trial % 4;
    c.owners = 1 + trial % 5;
    c.positions = trial % 4 == 0 ? 1 + trial * 5 : 300 + trial * 17;
    c.sequences = 1 + trial % 3;
    const double difference = StripeDifference(c, make, random);
    if (difference > worst.difference) worst = {difference, Describe(c)};
  }
  return worst;
}

double SevenTwoOneDifference(Storage storage, const MakeStripeDevice& make) {
  std::mt19937_64 random(21);
  StripeCase c;
  c.storage = storage;
  c.ranges = {{10, 0, 7}, {10, 7, 2}, {10, 9, 1}};
  c.positions = 1400;
  return StripeDifference(c, make, random);
}

}  // namespace headlong
