// What workers measure of prompts, on CPUs and on a GPU: attention as an independent implementation
// recorded it, and the same spectra, similarities and copies whatever the device and the chunks.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "common/json.h"
#include "tests/support/paths.h"
#include "tests/worker/local_workers.h"

namespace headlong {
namespace {

constexpr int kLayers = 8, kQueryHeads = 8;  // of needle-10m
constexpr int kPeriod = 512, kCopies = 4;

using Subject = std::pair<On, std::string>;  // and the type of numbers; fp16: of caches alone

// A step's part of what was asked, added to what earlier steps found.
void AddTo(v1::ProbeResult& all, const v1::ProbeResult& found) {
  all.set_scored_rows(all.scored_rows() + found.scored_rows());
  all.mutable_spectra()->MergeFrom(found.spectra());
  for (int i = 0; i < found.heads_size(); ++i) {  // every step has the same heads in the same order
    const v1::HeadAttention& head = found.heads(i);
    if (i == all.heads_size()) {
      *all.add_heads() = head;
    } else {
      v1::HeadAttention& sum = *all.mutable_heads(i);
      ASSERT_EQ(sum.layer(), head.layer());
      ASSERT_EQ(sum.query_head(), head.query_head());
      sum.set_echo(sum.echo() + head.echo());
      sum.set_induction(sum.induction() + head.induction());
      sum.set_copied(sum.copied() + head.copied());
    }
  }
  for (int i = 0; i < found.similarities_size(); ++i) {
    if (i == all.similarities_size()) all.add_similarities(0);
    all.set_similarities(i, all.similarities(i) + found.similarities(i));
  }
}

class ProbedPrompts : public ::testing::TestWithParam<Subject> {
 protected:
  void SetUp() override {
    const auto devices = DevicesOf(GetParam().first);
    if (!devices.ok()) GTEST_SKIP() << devices.status();
    devices_ = *devices;
    recorded_ = *ReadJsonFile(GoldenPath("needle-10m.head_scores.json"));
    const auto once = recorded_["ids"].get<std::vector<uint32_t>>();
    for (int copy = 0; copy < kCopies; ++copy) ids_.insert(ids_.end(), once.begin(), once.end());
  }

  // All that a cluster of one worker answers to a probe of ids_, summed over steps.
  absl::StatusOr<v1::ProbeResult> Ask(const v1::Probe& probe, int chunk,
                                      const std::vector<DeviceChoice>& devices,
                                      const std::string& dtype) {
    LocalOptions options;
    options.model_dir = SourceDir() / "models" / "needle-10m";
    options.devices = devices;
    options.dtype = dtype == "fp16" ? "fp32" : dtype;
    options.kv_cache_dtype = dtype;
    options.max_context = 4096;
    auto workers = LocalWorkers::Begin(options);
    if (!workers.ok()) return workers.status();
    v1::Step start;
    start.add_started()->set_sequence_id(1);
    start.mutable_started(0)->set_prompt_tokens(ids_.size());
    *start.mutable_started(0)->mutable_probe() = probe;
    if (const auto begun = (*workers)->Run(start); !begun.ok()) return begun.status();
    v1::ProbeResult all;
    for (size_t begin = 0; begin < ids_.size(); begin += chunk) {
      const size_t end = std::min(begin + chunk, ids_.size());
      v1::Step step;
      v1::BatchEntry& entry = *step.add_entries();
      entry.set_sequence_id(1);
      entry.set_position(begin);
      entry.mutable_tokens()->Add(ids_.begin() + begin, ids_.begin() + end);
      entry.set_sample(end == ids_.size());
      const auto done = (*workers)->Run(step);
      if (!done.ok()) return done.status();
      for (const v1::SequenceProbe& part : done->probes()) AddTo(all, part.result());
    }
    return all;
  }
  absl::StatusOr<v1::ProbeResult> Ask(const v1::Probe& probe, int chunk) {
    return Ask(probe, chunk, devices_, GetParam().second);
  }
  absl::StatusOr<v1::ProbeResult> Reference(const v1::Probe& probe) {
    return Ask(probe, 512, *DevicesOf(On::kCpu), "fp32");
  }
  bool exact() const { return GetParam().second == "fp32"; }

  std::vector<DeviceChoice> devices_;
  Json recorded_;
  std::vector<uint32_t> ids_;
};

// Chunks of 300 cut copies; the last row of 2,048 stands alone in chunks of 89.
TEST_P(ProbedPrompts, AttentionIsTheRecordedOne) {
  v1::Probe probe;
  probe.set_period(kPeriod);
  probe.set_first_row(kPeriod);
  for (const int chunk : {300, 89}) {
    const auto found = Ask(probe, chunk);
    ASSERT_TRUE(found.ok()) << found.status();
    const double rows = (kCopies - 1) * kPeriod;
    EXPECT_EQ(found->scored_rows(), rows);
    ASSERT_EQ(found->heads_size(), kLayers * kQueryHeads);
    for (const v1::HeadAttention& head : found->heads()) {
      const double echo = recorded_["echo"][head.layer()][head.query_head()];
      const double induction = recorded_["induction"][head.layer()][head.query_head()];
      EXPECT_NEAR(head.echo() / rows, echo, exact() ? 1e-4 : 0.02) << head.ShortDebugString();
      EXPECT_NEAR(head.induction() / rows, induction, exact() ? 1e-4 : 0.02)
          << head.ShortDebugString();
    }
  }
}

// A head that attends to what followed the copies has its largest weight on one of those.
TEST_P(ProbedPrompts, CopiesAreOfTheHeadsThatCopy) {
  v1::Probe probe;
  for (uint32_t row = 3 * kPeriod; row < 3 * kPeriod + 400; row += 7) {
    for (uint32_t copy = 0; copy < 3; ++copy) {
      probe.add_copying_rows(row);
      probe.add_copied_positions(copy * kPeriod + row % kPeriod + 1);
    }
  }
  const int rows = probe.copying_rows_size() / 3;
  const auto expected = Reference(probe), found = Ask(probe, 89);
  ASSERT_TRUE(expected.ok() && found.ok()) << expected.status() << found.status();
  ASSERT_EQ(found->heads_size(), kLayers * kQueryHeads);
  int all = 0, none = 0;
  for (int i = 0; i < found->heads_size(); ++i) {
    const v1::HeadAttention& head = found->heads(i);
    const int copied = static_cast<int>(head.copied());
    EXPECT_NEAR(copied, expected->heads(i).copied(), exact() ? 0 : 3) << head.ShortDebugString();
    EXPECT_EQ(head.echo(), 0);
    const double induction = recorded_["induction"][head.layer()][head.query_head()];
    if (induction > 0.9) {
      EXPECT_GE(copied, rows * 9 / 10) << head.ShortDebugString();
    }
    if (induction < 0.02) {
      EXPECT_LE(copied, rows / 10) << head.ShortDebugString();
    }
    all += induction > 0.9;
    none += induction < 0.02;
  }
  EXPECT_GT(all, 0) << "the model has heads of both kinds";
  EXPECT_GT(none, 0);
}

TEST_P(ProbedPrompts, SimilaritiesAreOfAllRowsOfEveryLayer) {
  v1::Probe probe;
  probe.set_similarity(true);
  const auto expected = Reference(probe), found = Ask(probe, 300);
  ASSERT_TRUE(expected.ok() && found.ok()) << expected.status() << found.status();
  ASSERT_EQ(found->similarities_size(), kLayers);
  for (int layer = 0; layer < kLayers; ++layer) {
    const double rows = static_cast<double>(ids_.size());
    EXPECT_NEAR(found->similarities(layer) / rows, expected->similarities(layer) / rows,
                exact() ? 1e-5 : 3e-3);
    EXPECT_LT(found->similarities(layer) / rows, 0.9999) << "attention changes something";
    EXPECT_GT(found->similarities(layer) / rows, 0);
  }
}

TEST_P(ProbedPrompts, SpectraAreOfTheWholePrompt) {
  v1::Probe probe;
  probe.set_spectra(true);
  const auto expected = Reference(probe), found = Ask(probe, 300);
  ASSERT_TRUE(expected.ok() && found.ok()) << expected.status() << found.status();
  ASSERT_EQ(found->spectra_size(), expected->spectra_size());
  const double most = exact() ? 1e-4 : 2e-2;
  for (int i = 0; i < found->spectra_size(); ++i) {
    const v1::HeadSpectra &a = expected->spectra(i), &b = found->spectra(i);
    ASSERT_EQ(a.layer(), b.layer());
    ASSERT_EQ(a.head(), b.head());
    for (const auto& [x, y] : {std::pair(&a.queries(), &b.queries()),
                               {&a.keys(), &b.keys()},
                               {&a.values(), &b.values()}}) {
      ASSERT_EQ(x->size(), y->size());
      double error = 0, norm = 0;
      for (int j = 0; j < x->size(); ++j) {
        error += std::pow(double{(*x)[j]} - (*y)[j], 2);
        norm += std::pow(double{(*x)[j]}, 2);
      }
      EXPECT_LE(std::sqrt(error / norm), most) << "layer " << a.layer() << " head " << a.head();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, ProbedPrompts,
                         ::testing::Values(Subject{On::kCpu, "fp32"}, Subject{On::kCpu, "bf16"},
                                           Subject{On::kCpu, "fp16"}, Subject{On::kCuda, "fp32"},
                                           Subject{On::kCuda, "bf16"}, Subject{On::kCuda, "fp16"}),
                         [](const auto& each) {
                           return (each.param.first == On::kCpu ? "Cpu" : "Cuda") +
                                  each.param.second;
                         });

}  // namespace
}  // namespace headlong
