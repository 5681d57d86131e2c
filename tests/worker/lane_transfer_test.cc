// Sequences go on from their lanes when other workers hold the heads: the next logits are those of
// workers that never changed. And parcels between threads.
#include "worker/lane_transfer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <thread>

#include "common/json.h"
#include "tests/support/paths.h"
#include "tests/worker/local_workers.h"
#include "tests/worker/logits.h"

namespace headlong {
namespace {

constexpr double kOneWorker = 5e-4;  // on logits, against one worker of the same kind
constexpr int kAnswer = 6;           // tokens between two moves

struct Layout {
  int workers = 1;
  std::vector<int> stripes;
  int first_worker = 0;
};

struct Journey {
  std::vector<Layout> layouts;
  On on = On::kCpu;
};
void PrintTo(const Journey& journey, std::ostream* out) {
  for (const Layout& layout : journey.layouts) *out << layout.workers << "_";
  PrintTo(journey.on, out);
}

class Transfers : public ::testing::TestWithParam<Journey> {
 protected:
  void SetUp() override {
    const auto devices = DevicesOf(GetParam().on);
    if (!devices.ok()) GTEST_SKIP() << devices.status();
    options_.devices = *devices;
    options_.model_dir = SourceDir() / "models" / "needle-10m";
    options_.max_context = 2048;
    const auto prompts = ReadJsonFile(GoldenPath("needle-10m.transformers.json"));
    ASSERT_TRUE(prompts.ok()) << prompts.status();
    for (const Json& prompt : *prompts) {
      for (const uint32_t token : prompt["prompt_ids"]) tokens_.push_back(token);
    }
    ASSERT_GE(tokens_.size(), 1200u);
  }

  LocalOptions With(const Layout& layout) const {
    LocalOptions options = options_;
    options.workers = layout.workers;
    options.stripes = layout.stripes;
    options.first_worker = layout.first_worker;
    return options;
  }

  void Run(const std::string& plan_json, double tolerance = kOneWorker);

  LocalOptions options_;
  std::vector<uint32_t> tokens_;
};

// Two sequences, the pages of a third one free between theirs.
void Transfers::Run(const std::string& plan_json, double tolerance) {
  options_.plan = plan_json;
  auto still = LocalWorkers::Begin(With({}));
  auto moving = LocalWorkers::Begin(With(GetParam().layouts[0]));
  ASSERT_TRUE(still.ok() && moving.ok()) << still.status() << moving.status();
  const std::vector<int> lengths{700, 300, 1117};
  for (uint64_t id = 1; id <= 3; ++id) {
    const std::vector<uint32_t> prompt(tokens_.begin(), tokens_.begin() + lengths[id - 1]);
    for (LocalWorkers* workers : {still->get(), moving->get()}) {
      ASSERT_TRUE(workers->Prefill(id, prompt, 256, lengths[id - 1] - 7).ok());
    }
  }
  ASSERT_TRUE((*still)->End(2).ok());
  ASSERT_TRUE((*moving)->End(2).ok());
  int position = 0;
  for (size_t i = 1; i < GetParam().layouts.size(); ++i) {
    const auto moved = (*moving)->Move(With(GetParam().layouts[i]));
    ASSERT_TRUE(moved.ok()) << moved.status();
    ASSERT_TRUE(*moved);
    for (int step = 0; step < kAnswer; ++step, ++position) {
      for (const uint64_t id : {uint64_t{1}, uint64_t{3}}) {
        const int at = lengths[id - 1] + position;
        const auto expected = (*still)->Extend(id, at, {tokens_[at % 1000]});
        const auto got = (*moving)->Extend(id, at, {tokens_[at % 1000]});
        ASSERT_TRUE(expected.ok() && got.ok()) << expected.status() << got.status();
        ASSERT_LE(Difference(*got, *expected), tolerance)
            << "sequence " << id << " at " << at << " after move " << i;
      }
    }
  }
  for (const uint64_t id : {uint64_t{1}, uint64_t{3}}) ASSERT_TRUE((*moving)->End(id).ok());
  EXPECT_EQ((*moving)->cache_bytes_used(), 0);
}

TEST_P(Transfers, FullHeads) { Run("full"); }

TEST_P(Transfers, LocalHeadsBesideThem) {
  for (const char* prefill : {"streaming", "exact"}) {
    SCOPED_TRACE(prefill);
    auto plan = ReadJsonFile(options_.model_dir / "plan.json");
    ASSERT_TRUE(plan.ok()) << plan.status();
    (*plan)["prefill"] = prefill;
    Run(plan->dump());
  }
}

// Sums of fewer workers round differently, by which a code is now and then one step beside.
TEST_P(Transfers, CodesAndThePlainTokensBesideThem) {
  constexpr double kSteps = 0.8;  // what coding itself may change (coded_lanes_test)
  auto plan = ReadJsonFile(options_.model_dir / "plan.json");
  ASSERT_TRUE(plan.ok()) << plan.status();
  const Json codes = {{"k", "int8"}, {"v", "int8"}};
  (*plan)["policies"]["retrieval"] = {{"sinks", 4}, {"storage", codes}};
  (*plan)["policies"]["local"]["storage"] = codes;
  Run(plan->dump(), kSteps);
}

// Sums of fewer workers round differently, by which a number is now and then one step beside. GPUs
// round queries and weights, too.
TEST_P(Transfers, Float16CachesAndPolicies) {
  const double steps = GetParam().on == On::kCuda ? 0.05 : 0.02;
  auto plan = ReadJsonFile(options_.model_dir / "plan.json");
  ASSERT_TRUE(plan.ok()) << plan.status();
  options_.kv_cache_dtype = "fp16";
  Run(plan->dump(), steps);
  if (GetParam().on == On::kCuda) return;  // where all lanes without codes are of one type
  options_.kv_cache_dtype = "fp32";
  (*plan)["policies"]["retrieval"]["storage"] = {{"k", "fp16"}, {"v", "fp16"}};
  (*plan)["policies"]["local"]["storage"] = {{"v", "fp16"}};
  Run(plan->dump(), steps);
}

// One worker that does not hold what the others move stops all of them, and nothing else.
TEST_P(Transfers, SomebodyWhoStandsElsewhereStopsIt) {
  auto workers = LocalWorkers::Begin(With(GetParam().layouts[0]));
  ASSERT_TRUE(workers.ok()) << workers.status();
  const std::vector<uint32_t> prompt(tokens_.begin(), tokens_.begin() + 100);
  ASSERT_TRUE((*workers)->Prefill(1, prompt, 64).ok());
  (*workers)->live(1).set_committed(99);
  const auto moved = (*workers)->Move(With(GetParam().layouts[1]));
  ASSERT_TRUE(moved.ok()) << moved.status();
  EXPECT_FALSE(*moved);
  EXPECT_TRUE((*workers)->Prefill(1, prompt, 64).ok()) << "it is computed again";
}

const std::vector<Layout> kLeaveAndReturn{{2, {}}, {1, {}}, {2, {}}};
const std::vector<Layout> kFirstLeaves{{2, {}}, {1, {}, 1}, {3, {}}};
const std::vector<Layout> kStripes{{3, {7, 2, 1}}, {2, {1, 1}}, {3, {2, 0, 3}}, {4, {}}};

INSTANTIATE_TEST_SUITE_P(Cpu, Transfers,
                         ::testing::Values(Journey{kLeaveAndReturn}, Journey{kFirstLeaves},
                                           Journey{kStripes}));
INSTANTIATE_TEST_SUITE_P(Cuda, Transfers,
                         ::testing::Values(Journey{kLeaveAndReturn, On::kCuda},
                                           Journey{kStripes, On::kCuda}));

// What rank `from` has for rank `to`: sizes differ, some are nothing, some take several messages.
int64_t SizeOf(int from, int to) {
  if ((from + to) % 5 == 4) return 0;
  return from == 0 && to == 1 ? (int64_t{40} << 20) + 17 : 1000 * from + to + 1;
}
std::byte ByteOf(int from, int to, int64_t i) {
  return static_cast<std::byte>((from * 31 + to * 7 + i * 13) & 255);
}

std::vector<absl::StatusOr<bool>> ExchangeAll(int world, int not_ready,
                                              std::vector<Parcels>& parcels) {
  MemoryRendezvous rendezvous;
  std::vector<absl::StatusOr<bool>> answers(world, false);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world; ++rank) {
    Parcels& mine = parcels[rank];
    mine.ready = rank != not_ready;
    mine.out.resize(world);
    mine.in.resize(world);
    for (int peer = 0; peer < world; ++peer) {
      mine.out[peer].size = SizeOf(rank, peer);
      mine.in[peer].size = SizeOf(peer, rank);
      mine.out[peer].bytes = TakeHugeArray<std::byte>(mine.out[peer].size);
      mine.in[peer].bytes = TakeHugeArray<std::byte>(mine.in[peer].size);
      for (int64_t i = 0; i < mine.out[peer].size; ++i) {
        mine.out[peer].bytes[i] = ByteOf(rank, peer, i);
      }
    }
    threads.emplace_back([&, rank] {
      GlooOptions options;
      options.rank = rank;
      options.world = world;
      options.host = "127.0.0.1";
      answers[rank] = ExchangeParcels(options, rendezvous, parcels[rank], [] {});
    });
  }
  for (std::thread& thread : threads) thread.join();
  return answers;
}

TEST(ParcelsTest, EveryByteArrives) {
  for (const int world : {1, 2, 3, 5}) {
    std::vector<Parcels> parcels(world);
    for (const auto& answer : ExchangeAll(world, -1, parcels)) {
      ASSERT_TRUE(answer.ok()) << answer.status();
      EXPECT_TRUE(*answer);
    }
    for (int to = 0; to < world; ++to) {
      for (int from = 0; from < world; ++from) {
        const Parcel& parcel = parcels[to].in[from];
        ASSERT_EQ(parcel.size, SizeOf(from, to));
        int64_t wrong = 0;
        for (int64_t i = 0; i < parcel.size; ++i) wrong += parcel.bytes[i] != ByteOf(from, to, i);
        EXPECT_EQ(wrong, 0) << from << " to " << to << " of " << world;
      }
    }
  }
}

TEST(ParcelsTest, NothingIsSentWhereOneIsNotReady) {
  for (const int not_ready : {0, 2}) {
    std::vector<Parcels> parcels(3);
    for (const auto& answer : ExchangeAll(3, not_ready, parcels)) {
      ASSERT_TRUE(answer.ok()) << answer.status();
      EXPECT_FALSE(*answer);
    }
  }
}

}  // namespace
}  // namespace headlong
