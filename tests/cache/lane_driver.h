// Runs lanes over block tables, slab and lane operations as a worker must ("Order of use" in
// cache/lane_cpu.h), with attention in plain fp64 loops over what the cache hands out. Memory that
// was never written reads as NaN. For tests; one thread.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "cache/block_pool.h"
#include "cache/block_table.h"
#include "cache/lane_cpu.h"
#include "cache/slab_cpu.h"
#include "tests/support/local_head_reference.h"

namespace headlong {

inline constexpr int kDriverHeadDim = 8;
inline constexpr int kDriverLane = 1;  // of two; the other stays NaN

// Queries, keys and values of one head, [positions][kDriverHeadDim].
struct HeadRows {
  std::vector<float> queries;
  std::vector<float> keys;
  std::vector<float> values;

  static HeadRows Random(std::mt19937& random, int64_t positions);
  int64_t positions() const { return static_cast<int64_t>(keys.size()) / kDriverHeadDim; }
  // Keys and values as a lane of this type stores them.
  HeadRows Rounded(Storage storage) const;
  reference::HeadInput View() const { return {kDriverHeadDim, queries, keys, values}; }
};

// The lane class that sequences share.
struct DriverClass {
  DriverClass(const LaneRule& class_rule, Storage storage, int sequences, int64_t max_context);

  LaneRule rule;
  BlockPool pool;
  SlabCpu slab;
};

// One lane of one sequence.
class LaneDriver {
 public:
  LaneDriver(DriverClass* lanes, int slot);

  // Computes positions [committed, committed + count) of `rows` in one step.
  void Step(const HeadRows& rows, int64_t count);
  // `prefill: exact` of positions [0, count): every query sees everything before it.
  void PrefillExact(const HeadRows& rows, int64_t count);
  // A second sequence with this one's keys, sums in `slot`.
  LaneDriver Fork(int slot);
  void Release() { table_.Release(lanes_->pool); }

  const BlockTable& table() const { return table_; }
  // Of all positions so far.
  const reference::HeadOutput& output() const { return output_; }
  std::vector<float> sums() const;
  // Keys and values of all kept positions, bytes in position order.
  std::vector<std::byte> Contents() const;

 private:
  void AttendFull(const HeadRows& rows, const BlockTable& after, int64_t m);
  void AttendLocal(const HeadRows& rows, const NewRows& fresh, int64_t m);
  void AttendRuns(const float* query, std::span<const KeyRun> runs, int64_t dropped);
  float Element(const std::byte* row, int i) const;
  SlabLane lane() const { return {&lanes_->slab, kDriverLane, slot_}; }

  DriverClass* lanes_;
  int slot_;
  BlockTable table_;
  int64_t folded_ = 0;  // the sums hold [S, this)
  reference::HeadOutput output_;
};

// Empty when the driver's outputs equal the definition to 1e-5, else where they do not.
std::string DifferenceFromDefinition(const LaneDriver& driver, const reference::HeadRule& rule,
                                     const HeadRows& rounded);

}  // namespace headlong
