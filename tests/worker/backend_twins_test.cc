// Every operation of a backend on the CPU and on a GPU, by the same calls: fp32 to 1e-5 and bf16 to
// 1e-2 of the result's norm. Skipped, saying why, where there is no GPU.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "tests/worker/local_workers.h"
#include "worker/backend_cpu.h"
#include "worker/backend_cuda.h"

namespace headlong {
namespace {

constexpr int kMaxRows = 300;
constexpr int kHeads = 3, kGroup = 2, kHeadDim = 64;
constexpr int kRows = 7;  // of the batch, of which rows 0, 3 and 6 are sampled
constexpr uint32_t kTokens[kRows] = {100, 149, 99, 150, 120, 0, 110};

// What a test body gets: a backend with caches, and ways to bring numbers to it and back.
class Bench {
 public:
  Bench(std::unique_ptr<Backend> backend, uint64_t seed)
      : backend_(std::move(backend)), random_(seed) {}

  absl::Status Begin() {
    const PlanShape shape{1, kHeads, "", {}};
    auto plan = Plan::FromJson(
        R"({"version":1,"layers":1,"kv_heads":3,"policies":{"all":{}},"default":"all"})", shape,
        "plan");
    if (!plan.ok()) return plan.status();
    plan_ = std::make_unique<Plan>(*std::move(plan));
    AttentionShape attention;
    attention.head_dim = kHeadDim;
    attention.group = kGroup;
    attention.heads = {{0, 1, 2}};
    attention.inverse_frequencies.assign(kHeadDim / 2, 0.01f);
    attention.max_context = kMaxRows;
    attention.max_rows = kMaxRows;
    std::vector<LaneId> lanes;
    for (int head = 0; head < kHeads; ++head) lanes.push_back({0, head});
    const std::vector<LaneClass> classes = BuildLaneClasses(*plan_, lanes);
    const std::vector<int32_t> pages(classes.size(), 8);
    const absl::Status caches =
        backend_->NewCaches(attention, {plan_.get(), &classes, pages, kRows, Storage::kFloat32});
    if (!caches.ok()) return caches;
    LaneTables tables(*plan_, classes, pages, kRows);
    Batch batch;
    batch.tokens.assign(std::begin(kTokens), std::end(kTokens));
    batch.positions.assign(kRows, 0);
    for (int row = 0; row < kRows; ++row) {
      batch.chunks.push_back({static_cast<uint64_t>(row), row, 1, 0, row % 3 == 0, false});
      if (const auto slot = tables.Start(row, kMaxRows); !slot.ok()) return slot.status();
      const absl::Status opened = tables.Advance(batch.chunks[row], 0);
      if (!opened.ok()) return opened;
    }
    backend_->BeginBatch(batch, tables, false);
    return absl::OkStatus();
  }

  std::vector<float> Numbers(int64_t count, float scale = 1) {
    std::vector<float> numbers(count);
    std::normal_distribution<float> normal(0, scale);
    for (float& number : numbers) number = normal(random_);
    return numbers;
  }
  Activations Make(int rows, int columns) {
    return Bring(Numbers(int64_t{rows} * columns), rows, columns);
  }
  Activations Bring(const std::vector<float>& numbers, int rows, int columns) {
    const Activations x = *backend_->NewActivations(rows, columns);
    backend_->WriteFloats(numbers.data(), std::ssize(numbers), x);
    return x;
  }
  std::vector<float> Read(Activations x, int64_t count) {
    std::vector<float> numbers(count);
    backend_->ReadFloats(x, count, numbers.data());
    return numbers;
  }
  Backend& operator*() { return *backend_; }
  Backend* operator->() { return backend_.get(); }

 private:
  std::unique_ptr<Plan> plan_;
  const std::unique_ptr<Backend> backend_;
  std::mt19937_64 random_;
};

using Body = std::function<std::vector<float>(Bench&)>;

double RelativeError(const std::vector<float>& expected, const std::vector<float>& actual) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(double{expected[i]} - actual[i], 2);
    norm += std::pow(double{expected[i]}, 2);
  }
  return std::sqrt(error / std::max(norm, 1e-30));
}

class BackendTwins : public ::testing::TestWithParam<Storage> {
 protected:
  void SetUp() override {
    const auto devices = DevicesOf(On::kCuda);
    if (!devices.ok()) GTEST_SKIP() << devices.status();
    gpu_ = devices->front().gpu;
  }

  void ExpectSame(const Body& body, const std::string& what) {
    auto on_gpu = MakeCudaBackend(GetParam(), gpu_, true);
    ASSERT_TRUE(on_gpu.ok()) << on_gpu.status();
    Bench cpu(MakeCpuBackend(GetParam()), 17), cuda(*std::move(on_gpu), 17);
    ASSERT_TRUE(cpu.Begin().ok());
    ASSERT_TRUE(cuda.Begin().ok());
    const std::vector<float> expected = body(cpu), actual = body(cuda);
    ASSERT_EQ(expected.size(), actual.size());
    EXPECT_LE(RelativeError(expected, actual), GetParam() == Storage::kFloat32 ? 1e-5 : 1e-2)
        << what;
  }

  int gpu_ = 0;
};

TEST_P(BackendTwins, MatMul) {
  const int shapes[][2] = {{64, 64}, {1, 5}, {300, 77}, {17, 129}, {515, 1024}, {96, 2048}};
  for (const auto& [outputs, inputs] : shapes) {
    for (const int rows : {1, 2, 5, 8, 9, 33, 300}) {
      ExpectSame(
          [&](Bench& bench) {
            const auto weights = bench.Numbers(int64_t{outputs} * inputs, 0.1f);
            const auto matrix = *bench->LoadMatrix(weights.data(), outputs, inputs);
            const Activations x = bench.Make(rows, inputs);
            const Activations y = bench.Make(rows, outputs);
            bench->MatMul(*matrix, x, rows, y);
            return bench.Read(y, int64_t{rows} * outputs);
          },
          std::to_string(outputs) + " x " + std::to_string(inputs) + ", " + std::to_string(rows));
    }
  }
}

TEST_P(BackendTwins, AMatrixWithoutInputsGivesZeros) {
  ExpectSame(
      [](Bench& bench) {
        const auto matrix = *bench->LoadMatrix(nullptr, 20, 0);
        const Activations x = bench.Make(3, 4), y = bench.Make(3, 20);
        bench->MatMul(*matrix, x, 3, y);
        return bench.Read(y, 60);
      },
      "no inputs");
}

// Also what a product takes from the operation before it.
TEST_P(BackendTwins, NormsAndTheirProducts) {
  for (const int columns : {7, 64, 1000, 4096}) {
    for (const int rows : {1, 40}) {
      ExpectSame(
          [&](Bench& bench) {
            const auto weight = *bench->LoadVector(bench.Numbers(columns));
            const auto weights = bench.Numbers(int64_t{33} * columns, 0.1f);
            const auto matrix = *bench->LoadMatrix(weights.data(), 33, columns);
            const Activations x = bench.Make(rows, columns), y = bench.Make(rows, columns);
            const Activations out = bench.Make(rows, columns), product = bench.Make(rows, 33);
            bench->RmsNorm(x, *weight, 1e-5f, rows, out);
            bench->MatMul(*matrix, out, rows, product);
            std::vector<float> all = bench.Read(product, int64_t{rows} * 33);
            bench->AddRmsNorm(x, y, *weight, 1e-5f, rows, out);
            for (const Activations each : {x, out}) {
              const auto numbers = bench.Read(each, int64_t{rows} * columns);
              all.insert(all.end(), numbers.begin(), numbers.end());
            }
            bench->Add(out, y, rows, columns);  // the rounded copy of before is out of date
            bench->MatMul(*matrix, out, rows, product);
            const auto numbers = bench.Read(product, int64_t{rows} * 33);
            all.insert(all.end(), numbers.begin(), numbers.end());
            bench->RmsNorm(x, *weight, 1e-5f, rows, x);
            const auto in_place = bench.Read(x, int64_t{rows} * columns);
            all.insert(all.end(), in_place.begin(), in_place.end());
            return all;
          },
          std::to_string(rows) + " x " + std::to_string(columns));
    }
  }
}

TEST_P(BackendTwins, SiluMulAndItsProduct) {
  for (const int columns : {5, 176, 3000}) {
    ExpectSame(
        [&](Bench& bench) {
          const auto weights = bench.Numbers(int64_t{16} * columns, 0.1f);
          const auto matrix = *bench->LoadMatrix(weights.data(), 16, columns);
          const Activations pair = bench.Bring(bench.Numbers(14 * columns, 30), 7, 2 * columns);
          const Activations out = bench.Make(7, columns), product = bench.Make(7, 16);
          bench->SiluMul(pair, 7, columns, out);
          bench->MatMul(*matrix, out, 7, product);
          std::vector<float> all = bench.Read(out, 7 * columns);
          const auto numbers = bench.Read(product, 7 * 16);
          all.insert(all.end(), numbers.begin(), numbers.end());
          return all;
        },
        std::to_string(columns));
  }
}

// For few rows one kernel, for more two.
TEST_P(BackendTwins, GatedProducts) {
  for (const int columns : {5, 176, 3000}) {
    for (const int rows : {1, 8, 9}) {
      ExpectSame(
          [&](Bench& bench) {
            const auto numbers = bench.Numbers(int64_t{2} * columns * 96, 0.5f);
            const auto up = *bench->LoadMatrix(numbers.data(), 2 * columns, 96);
            const auto more = bench.Numbers(int64_t{33} * columns, 0.1f);
            const auto down = *bench->LoadMatrix(more.data(), 33, columns);
            const Activations x = bench.Make(rows, 96), both = bench.Make(rows, 2 * columns);
            const Activations out = bench.Make(rows, columns), product = bench.Make(rows, 33);
            bench->MatMulSiluMul(*up, x, rows, both, columns, out);
            bench->MatMul(*down, out, rows, product);
            std::vector<float> all = bench.Read(out, int64_t{rows} * columns);
            const auto products = bench.Read(product, int64_t{rows} * 33);
            all.insert(all.end(), products.begin(), products.end());
            bench->MatMulSiluMul(*up, x, rows, both, columns, out);  // beside the copy of before
            const auto again = bench.Read(out, int64_t{rows} * columns);
            all.insert(all.end(), again.begin(), again.end());
            return all;
          },
          std::to_string(rows) + " x " + std::to_string(columns));
    }
  }
}

TEST_P(BackendTwins, CenteredRowsAndGelu) {
  for (const int columns : {5, 176, 3000}) {
    ExpectSame(
        [&](Bench& bench) {
          const auto weights = bench.Numbers(int64_t{16} * columns, 0.1f);
          const auto matrix = *bench->LoadMatrix(weights.data(), 16, columns);
          const Activations x = bench.Bring(bench.Numbers(7 * columns, 3), 7, columns);
          const Activations out = bench.Make(7, columns), product = bench.Make(7, 16);
          bench->Center(x, 7, columns, out);
          std::vector<float> all = bench.Read(out, 7 * columns);
          bench->Gelu(x, 7, columns, out);
          bench->MatMul(*matrix, out, 7, product);
          for (const auto& [each, count] : {std::pair(out, columns), {product, 16}}) {
            const auto numbers = bench.Read(each, int64_t{7} * count);
            all.insert(all.end(), numbers.begin(), numbers.end());
          }
          return all;
        },
        std::to_string(columns));
  }
}

TEST_P(BackendTwins, HeadsBiasesAndRows) {
  const int width = kHeads * (kGroup + 2) * kHeadDim;
  ExpectSame(
      [&](Bench& bench) {
        const auto bias = *bench->LoadVector(bench.Numbers(width));
        const auto q = *bench->LoadVector(bench.Numbers(kHeadDim));
        const auto k = *bench->LoadVector(bench.Numbers(kHeadDim));
        const Activations qkv = bench.Make(7, width), last = bench.Make(4, width);
        bench->AddBias(qkv, *bias, 7);
        bench->NormHeads(0, qkv, *q, *k, 1e-6f);
        bench->GatherSampled(qkv, width, last);
        return bench.Read(last, 3 * width);
      },
      "heads");
}

TEST_P(BackendTwins, EmbeddingsOfHeldTokens) {
  for (const int columns : {48, 5000}) {
    ExpectSame(
        [=](Bench& bench) {
          const auto rows = bench.Numbers(int64_t{50} * columns);
          const auto table = *bench->LoadEmbedding(rows.data(), 50, columns);
          const Activations out = bench.Make(kRows, columns);
          bench->Embed(*table, 100, out);  // some tokens are others'
          return bench.Read(out, int64_t{kRows} * columns);
        },
        std::to_string(columns));
  }
}

TEST_P(BackendTwins, BestTokensAndTheFirstOfEquals) {
  for (const int columns : {1, 5, 1000, 40000}) {
    ExpectSame(
        [&](Bench& bench) {
          std::vector<float> numbers = bench.Numbers(3 * columns);
          for (float& x : numbers) x = std::round(2 * x);  // many are equal
          const Activations x = bench.Bring(numbers, 3, columns), out = bench.Make(3, 2);
          bench->BestTokens(x, 3, 1000000, out);
          std::vector<float> best = bench.Read(out, 6);
          for (int row = 0; row < 3; ++row) best[2 * row + 1] -= 1000000;
          return best;
        },
        std::to_string(columns));
  }
}

TEST_P(BackendTwins, HiddenStatesAreKept) {
  ExpectSame(
      [](Bench& bench) {
        const Activations x = bench.Make(9, 32), back = bench.Make(9, 32);
        bench->SaveHidden(x, {1, 2, 5, 200, false, true});
        bench->LoadHidden({1, 4, 3, 202, false, true}, back);
        return bench.Read(back, 9 * 32);
      },
      "hidden");
}

// Rows and columns of stored tensors of every type, and numbers in place of files.
TEST_P(BackendTwins, StoredMatrices) {
  for (const TensorType type :
       {TensorType::kFloat32, TensorType::kFloat16, TensorType::kBfloat16}) {
    ExpectSame(
        [&](Bench& bench) {
          std::vector<float> all;
          for (const bool dummy : {false, true}) {
            const std::vector<float> noise = bench.Numbers(40 * 70);
            std::vector<uint16_t> stored(noise.size() * 2);
            for (size_t i = 0; i < stored.size(); ++i) {  // finite in all types
              stored[i] = static_cast<uint16_t>(0x3000 + static_cast<int>(noise[i / 2] * 500));
            }
            TensorView tensor{type, {40, 70}, reinterpret_cast<std::byte*>(stored.data()), 0, {}};
            if (dummy) tensor.data = nullptr;
            tensor.dummy = {99, 0.5f, 0};
            MatrixSource source{40, 0, true, {{&tensor, 0, 40, 3, 20}, {&tensor, 0, 40, 41, 9}}};
            source.inputs = 29;
            MatrixSource stacked{
                25, 70, false, {{&tensor, 30, 10, 0, 70}, {&tensor, 0, 15, 0, 70}}};
            for (const MatrixSource& each : {source, stacked}) {
              const auto matrix = *bench->LoadStoredMatrix(each);
              const Activations x = bench.Make(4, each.inputs), y = bench.Make(4, each.outputs);
              bench->MatMul(*matrix, x, 4, y);
              const auto numbers = bench.Read(y, 4 * each.outputs);
              all.insert(all.end(), numbers.begin(), numbers.end());
            }
          }
          return all;
        },
        "type " + std::to_string(static_cast<int>(type)));
  }
}

INSTANTIATE_TEST_SUITE_P(All, BackendTwins,
                         ::testing::Values(Storage::kFloat32, Storage::kBfloat16),
                         [](const auto& each) { return std::string(StorageName(each.param)); });

}  // namespace
}  // namespace headlong
