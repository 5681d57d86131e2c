// Lanes that are filled without attention hold what the definition says: attention over them
// afterwards is that of fp64 over the same random keys and values, whatever the chunks were.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>

#include "tests/support/local_head_reference.h"
#include "tests/support/paths.h"
#include "tests/support/stored_row.h"
#include "tests/worker/local_workers.h"
#include "tests/worker/logits.h"
#include "worker/backend_cpu.h"
#include "worker/backend_cuda.h"
#include "worker/kernels/op_cpu.h"
#include "worker/solo.h"

namespace headlong {
namespace {

constexpr int kLayers = 2, kHeads = 4, kGroup = 2, kHeadDim = 64, kMaxRows = 333;
constexpr int kFilled = 1500, kDecoded = 3, kPositions = kFilled + kDecoded;
constexpr int kColumns = kHeads * (kGroup + 2) * kHeadDim;
constexpr int kOutColumns = kHeads * kGroup * kHeadDim;

constexpr char kPlan[] = R"({"version":1,"layers":2,"kv_heads":4,"policies":{
  "full":{},"coded":{"sinks":4,"storage":{"k":"int8","v":"int4"}},
  "local":{"sinks":4,"window_tokens":48},
  "small":{"sinks":5,"window_tokens":33,"compensation":"none","storage":{"k":"fp8","v":"int8"}}},
  "default":"local","heads":[
  {"layer":0,"heads":[0],"policy":"full"},{"layer":0,"heads":[1],"policy":"coded"},
  {"layer":0,"heads":[3],"policy":"small"},{"layer":1,"heads":[3],"policy":"coded"},
  {"layer":1,"heads":[1],"policy":"full"},{"layer":1,"heads":[0],"policy":"small"}]})";

DummyNumbers NumbersOf(int layer) { return {static_cast<uint64_t>(77 + 1000 * layer), 1, 0}; }

std::vector<float> Frequencies() {
  std::vector<float> frequencies;
  for (int i = 0; i < kHeadDim / 2; ++i) {
    frequencies.push_back(static_cast<float>(std::pow(10000.0, -2.0 * i / kHeadDim)));
  }
  return frequencies;
}

// One backend with caches for one sequence.
class Filled {
 public:
  Filled(std::unique_ptr<Backend> backend, Storage storage)
      : plan_(*Plan::FromJson(kPlan, {kLayers, kHeads, ""}, "plan")),
        classes_(WholeClasses(plan_)),
        backend_(std::move(backend)) {
    AttentionShape attention;
    attention.head_dim = kHeadDim;
    attention.group = kGroup;
    attention.heads = {{0, 1, 2, 3}, {0, 1, 2, 3}};
    attention.inverse_frequencies = Frequencies();
    attention.max_context = kPositions;
    attention.max_rows = kMaxRows;
    CacheShape cache{&plan_, &classes_, {}, /*max_sequences=*/1, storage};
    for (const LaneClass& lane_class : classes_) {
      const LaneRule rule = lane_class.rule(plan_, kPositions);
      cache.class_pages.push_back(static_cast<int32_t>(PagesReserved(rule, kPositions)));
    }
    tables_ = std::make_unique<LaneTables>(plan_, classes_, cache.class_pages, 1);
    EXPECT_TRUE(backend_->NewCaches(attention, cache).ok());
    qkv_ = *backend_->NewActivations(kMaxRows, kColumns);
    out_ = *backend_->NewActivations(kMaxRows, kOutColumns);
    backend_->ResetSums(*tables_->Start(1, 0));
  }

  const Plan& plan() const { return plan_; }

  // By layer, where `attends`: [count][kOutColumns].
  std::vector<std::vector<float>> Run(int64_t position, int count, bool attends) {
    Batch batch;
    batch.tokens.resize(count);
    batch.layer_end = kLayers;
    batch.chunks.push_back({.sequence_id = 1, .count = count, .position = position});
    for (int i = 0; i < count; ++i) batch.positions.push_back(static_cast<int32_t>(position + i));
    EXPECT_TRUE(tables_->Advance(batch.chunks[0], 0).ok());
    backend_->BeginBatch(batch, *tables_, false);
    std::vector<std::vector<float>> outs;
    for (int layer = 0; layer < kLayers; ++layer) {
      backend_->Fill(NumbersOf(layer), position, count, kColumns, qkv_);
      backend_->Attend(layer, qkv_, attends ? out_ : Activations{});
      if (!attends) continue;
      std::vector<float>& out = outs.emplace_back(count * kOutColumns);
      backend_->ReadFloats(out_, std::ssize(out), out.data());
    }
    backend_->EndBatch();
    tables_->Commit(1);
    return outs;
  }

 private:
  const Plan plan_;
  const std::vector<LaneClass> classes_;
  std::unique_ptr<LaneTables> tables_;
  const std::unique_ptr<Backend> backend_;
  Activations qkv_, out_;
};

// q, k and v of all positions, rotated: [kPositions][kColumns].
std::vector<float> RowsOf(int layer) {
  std::vector<float> rows(kPositions * kColumns), cos_sin(kPositions * kHeadDim);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = DummyNumber(NumbersOf(layer), i);
  std::vector<int32_t> positions(kPositions);
  for (int i = 0; i < kPositions; ++i) positions[i] = i;
  cpu::RopeTable(positions.data(), kPositions, Frequencies().data(), kHeadDim / 2, cos_sin.data());
  cpu::ApplyRope(rows.data(), kColumns, kPositions, kHeads * (kGroup + 1), kHeadDim / 2,
                 cos_sin.data());
  return rows;
}

// Columns from `first` on as they are stored, the first `plain` rows in the cache's own type.
std::vector<float> Stored(const std::vector<float>& rows, int first, std::optional<Storage> type,
                          Storage own, int plain) {
  std::vector<float> part;
  for (int row = 0; row < kPositions; ++row) {
    const std::span<const float> numbers(&rows[row * kColumns + first], kHeadDim);
    const Storage as = type && row >= plain ? *type : own;
    const auto stored = reference::StoredRow(numbers, StorageName(as));
    part.insert(part.end(), stored.begin(), stored.end());
  }
  return part;
}

// The largest error of what the decoded positions gave, over all heads.
double LargestError(const Plan& plan, Storage own,
                    const std::vector<std::vector<std::vector<float>>>& outs) {
  double worst = 0;
  for (int layer = 0; layer < kLayers; ++layer) {
    const std::vector<float> rows = RowsOf(layer);
    for (int query = 0; query < kHeads * kGroup; ++query) {
      const int head = query / kGroup;
      const HeadPolicy& policy = plan.policy(layer, head);
      const int key = (kHeads * kGroup + head) * kHeadDim, value = key + kHeads * kHeadDim;
      const auto keys = Stored(rows, key, policy.storage.keys, own, policy.sinks);
      const auto values = Stored(rows, value, policy.storage.values, own, policy.sinks);
      const auto queries =
          Stored(rows, query * kHeadDim, std::nullopt, Storage::kFloat32, /*plain=*/0);
      reference::HeadRule rule;
      rule.retrieval = policy.full();
      rule.sinks = policy.sinks;
      rule.window = policy.window_tokens.value_or(1);
      rule.compensation = policy.compensation == Compensation::kMean;
      const auto expected =
          reference::Attend(rule, {kHeadDim, queries, keys, values}, /*first=*/kFilled);
      for (int i = 0; i < kDecoded * kHeadDim; ++i) {
        const float got = outs[i / kHeadDim][layer][query * kHeadDim + i % kHeadDim];
        const double error = std::abs(got - expected.out[i]);
        worst = std::isnan(error) ? 1e9 : std::max(worst, error);
      }
    }
  }
  return worst;
}

class FillTest : public ::testing::TestWithParam<std::tuple<On, Storage>> {
 protected:
  void SetUp() override {
    const auto devices = DevicesOf(on());
    if (!devices.ok()) GTEST_SKIP() << devices.status();
    devices_ = *devices;
  }
  static On on() { return std::get<0>(GetParam()); }
  static Storage storage() { return std::get<1>(GetParam()); }

  std::unique_ptr<Backend> MakeBackend() const {
    if (on() == On::kCpu) return MakeCpuBackend(storage());
    auto backend = MakeCudaBackend(storage(), devices_[0].gpu, true);
    EXPECT_TRUE(backend.ok()) << backend.status();
    return *std::move(backend);
  }

  std::vector<DeviceChoice> devices_;
};

TEST_P(FillTest, DecodingAfterwardsEqualsTheDefinition) {
  // A GPU's cosines differ in the last bit, by which a code is now and then one step beside.
  const double most = on() == On::kCpu ? 2e-5 : storage() == Storage::kFloat32 ? 1e-3 : 1e-2;
  for (const int chunk : {1, 7, 64, kMaxRows}) {
    Filled filled(MakeBackend(), storage());
    for (int position = 0; position < kFilled; position += chunk) {
      filled.Run(position, std::min(chunk, kFilled - position), /*attends=*/false);
    }
    std::vector<std::vector<std::vector<float>>> outs;
    for (int i = 0; i < kDecoded; ++i) outs.push_back(filled.Run(kFilled + i, 1, true));
    EXPECT_LE(LargestError(filled.plan(), storage(), outs), most) << "chunks of " << chunk;
  }
}

// Through an epoch: the next token's logits.
TEST_P(FillTest, AnEpochFillsTheSameInAnyChunks) {
  const auto config = LoadModelConfig(SourceDir() / "models" / "needle-10m");
  ASSERT_TRUE(config.ok()) << config.status();
  const auto checkpoint = Checkpoint::Open(SourceDir() / "models" / "needle-10m", *config);
  const auto plan = Plan::Load("", SourceDir() / "models" / "needle-10m", PlanShapeOf(*config));
  Device device(devices_.empty() ? DeviceChoice{-1, "cpu", ""} : devices_[0]);
  NoPeers rendezvous;
  std::atomic<uint64_t> progress{0};
  const auto logits = [&](int chunk, uint64_t seed) {
    v1::Configure configure = ConfigureSolo(*config, *plan, {2000, 1, 512});
    configure.set_dtype(std::string(StorageName(storage())));
    configure.set_kv_cache_dtype(configure.dtype());
    EpochResources resources{&*config, checkpoint->get(), &device, &rendezvous, &progress, ""};
    resources.keeps_logits = true;
    auto epoch = *Epoch::Begin(configure, resources, [](int64_t, int64_t) {});
    v1::Step step;
    step.set_epoch(1);
    step.add_started()->set_sequence_id(1);
    EXPECT_TRUE(epoch->Run(step).ok());
    for (int position = 0; position < 1900; position += chunk) {
      const absl::Status filled = epoch->Fill(1, position, std::min(chunk, 1900 - position), seed);
      EXPECT_TRUE(filled.ok()) << filled;
    }
    EXPECT_EQ(epoch->Fill(1, 1800, 1, seed).code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(epoch->Fill(1, 1900, 101, seed).code(), absl::StatusCode::kFailedPrecondition);
    step.Clear();
    v1::BatchEntry& entry = *step.add_entries();
    entry.set_sequence_id(1);
    entry.set_position(1900);
    entry.add_tokens(5);
    entry.set_sample(true);
    EXPECT_TRUE(epoch->Run(step).ok());
    return epoch->logits();
  };
  const std::vector<float> whole = logits(512, 1);
  ASSERT_FALSE(whole.empty());
  EXPECT_LE(Difference(logits(77, 1), whole), on() == On::kCpu ? 0 : 1e-3);
  EXPECT_GT(Difference(logits(512, 2), whole), 0.01);
}

std::string NameOf(const ::testing::TestParamInfo<std::tuple<On, Storage>>& each) {
  const auto& [on, storage] = each.param;
  return ::testing::PrintToString(on) + std::string(StorageName(storage));
}

INSTANTIATE_TEST_SUITE_P(On, FillTest,
                         ::testing::Combine(::testing::Values(On::kCpu, On::kCuda),
                                            ::testing::Values(Storage::kFloat32,
                                                              Storage::kBfloat16)),
                         NameOf);

}  // namespace
}  // namespace headlong
