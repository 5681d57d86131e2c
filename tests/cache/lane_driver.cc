#include "tests/cache/lane_driver.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/support/stored_row.h"

namespace headlong {
namespace {

constexpr int kDim = kDriverHeadDim;

SlabCpu NanSlab(const SlabShape& shape) {
  auto slab = SlabCpu::Create(shape);
  if (!slab.ok()) std::abort();
  const int64_t page_bytes = shape.page_tokens * shape.format.token_bytes();
  for (int32_t page = 0; page < shape.pages; ++page) {
    for (int lane = 0; lane < shape.lanes; ++lane) {
      std::memset(slab->keys(page, lane).codes, 0xff, page_bytes);  // a NaN in every type
    }
  }
  return std::move(slab).value();
}

// Rows [begin, end) as a worker's scratch holds them.
std::vector<std::byte> Encode(std::span<const float> rows, int64_t begin, int64_t end,
                              Storage storage) {
  std::vector<std::byte> bytes;
  for (float value : rows.subspan(begin * kDim, (end - begin) * kDim)) {
    std::byte stored[sizeof(float)];
    EncodeRow(&value, {storage, 1}, {stored});
    bytes.insert(bytes.end(), stored, stored + ElementBytes(storage));
  }
  return bytes;
}

NewRows Rows(std::vector<std::byte>& keys, std::vector<std::byte>& values, int64_t begin,
             int64_t end) {
  return {.keys = {keys.data()}, .values = {values.data()}, .begin = begin, .end = end};
}

}  // namespace

HeadRows HeadRows::Random(std::mt19937& random, int64_t positions) {
  std::normal_distribution<float> normal;
  HeadRows rows;
  for (auto* matrix : {&rows.queries, &rows.keys, &rows.values}) {
    for (int64_t i = 0; i < positions * kDim; ++i) matrix->push_back(normal(random));
  }
  return rows;
}

HeadRows HeadRows::Rounded(Storage storage) const {
  HeadRows rounded = *this;
  for (auto* matrix : {&rounded.keys, &rounded.values}) {
    *matrix = reference::StoredRow(*matrix, StorageName(storage));
  }
  return rounded;
}

DriverClass::DriverClass(const LaneRule& class_rule, Storage storage, int sequences,
                         int64_t max_context)
    : rule(class_rule),
      pool(static_cast<int32_t>(sequences * PagesReserved(class_rule, max_context))),
      slab(NanSlab({.pages = pool.total(),
                    .lanes = 2,
                    .page_tokens = rule.page_tokens(),
                    .format = PlainFormat(storage, kDim),
                    .sum_slots = rule.compensates() ? sequences : 0})) {}

LaneDriver::LaneDriver(DriverClass* lanes, int slot)
    : lanes_(lanes), slot_(slot), table_(lanes->rule), folded_(lanes->rule.sinks) {
  if (lanes->rule.compensates()) lanes->slab.ResetSums(slot);
}

void LaneDriver::Step(const HeadRows& rows, int64_t count) {
  const int64_t begin = table_.committed();
  const int64_t end = begin + count;
  auto after = table_.Advance(count, lanes_->pool);
  ASSERT_TRUE(after.ok()) << after.status();
  const Storage storage = lanes_->slab.shape().format.own;
  auto keys = Encode(rows.keys, begin, end, storage);
  auto values = Encode(rows.values, begin, end, storage);
  const NewRows fresh = Rows(keys, values, begin, end);
  if (lanes_->rule.full) {
    WriteKept(*after, lane(), fresh);
    for (int64_t m = begin; m < end; ++m) AttendFull(rows, *after, m);
  } else {
    for (int64_t m = begin; m < end; ++m) AttendLocal(rows, fresh, m);
    WriteKept(*after, lane(), fresh);
  }
  table_ = *after;
}

void LaneDriver::PrefillExact(const HeadRows& rows, int64_t count) {
  auto after = table_.Advance(count, lanes_->pool);
  ASSERT_TRUE(after.ok()) << after.status();
  const Storage storage = lanes_->slab.shape().format.own;
  auto keys = Encode(rows.keys, 0, count, storage);
  auto values = Encode(rows.values, 0, count, storage);
  const NewRows all = Rows(keys, values, 0, count);
  for (int64_t m = 0; m < count; ++m) {
    const KeyRun run{keys.data(), values.data(), 0, m + 1};
    AttendRuns(&rows.queries[m * kDim], std::span(&run, 1), /*dropped=*/0);
  }
  folded_ = WindowStart(lanes_->rule, count - 1);
  if (lanes_->rule.compensates()) {
    FoldDropped(table_, lane(), all, {lanes_->rule.sinks, folded_},
                lanes_->slab.sums(slot_, kDriverLane));
  }
  WriteKept(*after, lane(), all);
  table_ = *after;
}

void LaneDriver::AttendFull(const HeadRows& rows, const BlockTable& after, int64_t m) {
  std::vector<KeyRun> runs;
  KeptRuns(after, lane(), {0, m + 1}, runs);
  AttendRuns(&rows.queries[m * kDim], runs, /*dropped=*/0);
}

void LaneDriver::AttendLocal(const HeadRows& rows, const NewRows& fresh, int64_t m) {
  const LaneRule& rule = lanes_->rule;
  const int64_t lo = WindowStart(rule, m);
  if (rule.compensates() && lo > folded_) {
    FoldDropped(table_, lane(), fresh, {folded_, lo}, lanes_->slab.sums(slot_, kDriverLane));
  }
  folded_ = lo;
  std::vector<KeyRun> runs;
  const std::pair<int64_t, int64_t> ranges[] = {{0, std::min(rule.sinks, m + 1)}, {lo, m + 1}};
  for (const auto& [begin, end] : ranges) {
    KeptRuns(table_, lane(), {begin, std::min(end, fresh.begin)}, runs);
    const int64_t from = std::max(begin, fresh.begin);
    if (from < end) NewRuns(lanes_->slab.shape().format, fresh, {from, end}, runs);
  }
  AttendRuns(&rows.queries[m * kDim], runs, rule.compensates() ? DroppedTokens(rule, m) : 0);
}

float LaneDriver::Element(const std::byte* row, int i) const {
  const Storage storage = lanes_->slab.shape().format.own;
  float number;
  DecodeRow(row + i * ElementBytes(storage), nullptr, {storage, 1}, &number);
  return number;
}

void LaneDriver::AttendRuns(const float* query, std::span<const KeyRun> runs, int64_t dropped) {
  const double scale = 1.0 / std::sqrt(double{kDim});
  const int64_t row_bytes = kDim * ElementBytes(lanes_->slab.shape().format.own);
  double total = 0;
  std::vector<double> out(kDim);
  // Normal logits stay far below the range of exp: no maximum is needed.
  const auto add = [&](double logit, auto&& value) {
    total += std::exp(logit);
    for (int i = 0; i < kDim; ++i) out[i] += std::exp(logit) * value(i);
  };
  for (const KeyRun& run : runs) {
    for (int64_t row = 0; row < run.count; ++row) {
      double logit = 0;
      for (int i = 0; i < kDim; ++i) {
        logit += double{query[i]} * Element(run.keys + row * row_bytes, i);
      }
      add(logit * scale, [&](int i) { return Element(run.values + row * row_bytes, i); });
    }
  }
  if (dropped > 0) {
    const float* sums = lanes_->slab.sums(slot_, kDriverLane);
    const auto count = static_cast<double>(dropped);
    double logit = 0;
    for (int i = 0; i < kDim; ++i) logit += query[i] * (sums[i] / count);
    add(logit * scale + std::log(count), [&](int i) { return sums[kDim + i] / count; });
  }
  for (double x : out) output_.out.push_back(x / total);
  output_.lse.push_back(std::log(total));
}

LaneDriver LaneDriver::Fork(int slot) {
  LaneDriver fork = *this;
  fork.table_ = table_.Fork(lanes_->pool);
  fork.slot_ = slot;
  const std::vector<float> from = sums();
  if (!from.empty()) {
    std::copy(from.begin(), from.end(), lanes_->slab.sums(slot, kDriverLane));
  }
  return fork;
}

std::vector<float> LaneDriver::sums() const {
  if (!lanes_->rule.compensates()) return {};
  const float* sums = lanes_->slab.sums(slot_, kDriverLane);
  return {sums, sums + 2 * kDim};
}

std::vector<std::byte> LaneDriver::Contents() const {
  const int64_t row_bytes = kDim * ElementBytes(lanes_->slab.shape().format.own);
  std::vector<std::byte> bytes;
  for (int64_t p = 0; p < table_.committed(); ++p) {
    if (!table_.Holds(p)) continue;
    std::vector<KeyRun> run;
    KeptRuns(table_, lane(), {p, p + 1}, run);
    bytes.insert(bytes.end(), run[0].keys, run[0].keys + row_bytes);
    bytes.insert(bytes.end(), run[0].values, run[0].values + row_bytes);
  }
  return bytes;
}

std::string DifferenceFromDefinition(const LaneDriver& driver, const reference::HeadRule& rule,
                                     const HeadRows& rounded) {
  constexpr double kTolerance = 1e-5;
  const reference::HeadOutput expected = reference::Attend(rule, rounded.View());
  const reference::HeadOutput& got = driver.output();
  if (got.lse.size() > expected.lse.size()) return "more outputs than positions";
  for (size_t m = 0; m < got.lse.size(); ++m) {
    if (!(std::abs(got.lse[m] - expected.lse[m]) <= kTolerance)) {
      return absl::StrCat("log-sum-exp at ", m, ": ", got.lse[m], ", not ", expected.lse[m]);
    }
    for (size_t i = m * kDim; i < (m + 1) * kDim; ++i) {
      if (!(std::abs(got.out[i] - expected.out[i]) <= kTolerance)) {
        return absl::StrCat("output at ", m, ": ", got.out[i], ", not ", expected.out[i]);
      }
    }
  }
  return "";
}

}  // namespace headlong
