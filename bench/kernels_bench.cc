// Rates of the CPU kernels, and what this machine can do at most, in one run:
//   kernels_bench [--benchmark_filter=Attend] [HEADLONG_ISA=generic]
// Names end in one_thread or all_threads. Rates of one thread are over its processor time, so that
// a busy machine disturbs them little; rates of all threads are over wall time.
#include <omp.h>
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "worker/kernels/attention_cpu.h"
#include "worker/kernels/matmul_cpu.h"
#include "worker/kernels/op_cpu.h"

namespace headlong::cpu {
namespace {

constexpr int64_t kFarAboveCaches = int64_t{256} << 20;  // bytes

using Vector __attribute__((vector_size(32))) = float;

void SetRates(benchmark::State& state, double bytes, double flops) {
  using benchmark::Counter;
  if (bytes > 0) {
    state.counters["bytes/s"] = Counter(bytes, Counter::kIsIterationInvariantRate);
  }
  if (flops > 0) {
    state.counters["flop/s"] = Counter(flops, Counter::kIsIterationInvariantRate);
  }
}

std::vector<float> Floats(int64_t n) {
  std::vector<float> v(n);
  uint32_t bits = 1;
  for (float& x : v) {
    bits = bits * 1664525u + 1013904223u;
    x = static_cast<float>(static_cast<int32_t>(bits)) * 0x1p-31f;
  }
  return v;
}

struct Free {
  void operator()(void* p) const { std::free(p); }
};

// In huge pages where the system has them, as the slabs of the caches are.
template <typename T>
std::unique_ptr<T[], Free> HugePages(int64_t count) {
  constexpr int64_t kPage = int64_t{2} << 20;
  const int64_t bytes = (count * static_cast<int64_t>(sizeof(T)) + kPage - 1) / kPage * kPage;
  void* memory = std::aligned_alloc(kPage, bytes);
  if (memory == nullptr) std::abort();
  madvise(memory, bytes, MADV_HUGEPAGE);
  return std::unique_ptr<T[], Free>(static_cast<T*>(memory));
}

// ---- ceilings -------------------------------------------------------------------------------

__attribute__((target("avx2"))) float Read(const float* x, int64_t n) {
  Vector sums[8] = {};
  for (int64_t i = 0; i + 64 <= n; i += 64) {
    for (int k = 0; k < 8; ++k) {
      Vector v;
      __builtin_memcpy(&v, x + i + 8 * k, sizeof v);
      sums[k] += v;
    }
  }
  for (int k = 1; k < 8; ++k) sums[0] += sums[k];
  return sums[0][0] + sums[0][7];
}

void ReadMemory(benchmark::State& state, int threads) {
  constexpr int64_t kFloats = kFarAboveCaches / 4;
  const auto memory = HugePages<float>(kFloats);
  std::fill_n(memory.get(), kFloats, 1.0f);
  const int64_t share = kFloats / threads;
  for (auto _ : state) {
    float sum = 0;
    if (threads == 1) {
      sum = Read(memory.get(), share);
    } else {
#pragma omp parallel for reduction(+ : sum) num_threads(threads)
      for (int t = 0; t < threads; ++t) sum += Read(memory.get() + t * share, share);
    }
    benchmark::DoNotOptimize(sum);
  }
  SetRates(state, static_cast<double>(share) * threads * 4, 0);
}

__attribute__((target("avx2,fma"))) float MultiplyAdd(int n) {
  Vector a[12];
  for (int k = 0; k < 12; ++k) a[k] = Vector{} + static_cast<float>(k);
  Vector factor = Vector{} + 0.999f;
  for (int i = 0; i < n; ++i) {
    asm volatile("" : "+x"(factor));
#pragma GCC unroll 12
    for (int k = 0; k < 12; ++k) a[k] = a[k] * factor + factor;
  }
  for (int k = 1; k < 12; ++k) a[0] += a[k];
  return a[0][0] + a[0][7];
}

void FmaPeak(benchmark::State& state) {
  constexpr int kSteps = 1 << 16;
  for (auto _ : state) benchmark::DoNotOptimize(MultiplyAdd(kSteps));
  SetRates(state, 0, 2.0 * 8 * 12 * kSteps);
}

// ---- attention ------------------------------------------------------------------------------

struct AttentionSetting {
  const char* name;
  int rows;
  int group;
  int head_dim;
  int keys;        // per tile
  int run_tokens;  // keys per run; runs lie in random order in memory
  Storage storage;
};

// Tiles over lanes that together fill `bytes` of memory, visited in turn.
class Lanes {
 public:
  Lanes(const AttentionSetting& s, int64_t bytes)
      : row_bytes_(s.head_dim * ElementBytes(s.storage)) {
    const int64_t page_bytes = 2 * row_bytes_ * s.run_tokens;
    const int64_t lane_pages = (s.keys + s.run_tokens - 1) / s.run_tokens;
    const int64_t lanes = std::max<int64_t>(1, bytes / (lane_pages * page_bytes));
    const int64_t bytes_taken = lanes * lane_pages * page_bytes;
    memory_ = HugePages<std::byte>(bytes_taken);
    const auto from = Floats(1 << 16);
    for (int64_t at = 0; at < bytes_taken; at += 1 << 16) {
      const int64_t n = std::min<int64_t>(1 << 16, bytes_taken - at) / ElementBytes(s.storage);
      StoreRows(from.data(), n, 1, static_cast<int>(n), s.storage, &memory_[at]);
    }
    std::vector<int64_t> pages(lanes * lane_pages);
    std::iota(pages.begin(), pages.end(), 0);
    std::shuffle(pages.begin(), pages.end(), std::mt19937(1));
    runs_.resize(lanes);
    for (int64_t i = 0; i < lanes * lane_pages; ++i) {
      const int64_t position = i % lane_pages * s.run_tokens;
      const std::byte* page = &memory_[pages[i] * page_bytes];
      runs_[i / lane_pages].push_back({page, page + page_bytes / 2, position,
                                       std::min<int64_t>(s.run_tokens, s.keys - position)});
    }
  }

  const std::vector<AttentionRun>& next() { return runs_[turn_++ % runs_.size()]; }

 private:
  int64_t row_bytes_;
  std::unique_ptr<std::byte[], Free> memory_;
  std::vector<std::vector<AttentionRun>> runs_;
  size_t turn_ = 0;
};

AttentionTile TileOf(const AttentionSetting& s, const float* q, float* out) {
  AttentionTile tile;
  tile.q = q;
  tile.q_stride = tile.out_stride = int64_t{s.group} * s.head_dim;
  tile.rows = s.rows;
  tile.group = s.group;
  tile.head_dim = s.head_dim;
  tile.first_position = s.keys;  // sees every key
  tile.scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim));
  tile.storage = s.storage;
  tile.out = out;
  return tile;
}

void Attend(benchmark::State& state, const AttentionSetting& s, int64_t working_set) {
  Lanes lanes(s, working_set);
  const auto q = Floats(int64_t{s.rows} * s.head_dim);
  std::vector<float> out(q.size());
  AttentionTile tile = TileOf(s, q.data(), out.data());
  for (auto _ : state) {
    tile.runs = lanes.next();
    AttendTile(tile);
    benchmark::ClobberMemory();
  }
  SetRates(state, 2.0 * s.keys * s.head_dim * ElementBytes(s.storage),
           4.0 * s.rows * s.keys * s.head_dim);
}

void RegisterAttention() {
  constexpr Storage kFp32 = Storage::kFloat32, kBf16 = Storage::kBfloat16;
  const AttentionSetting prefill[] = {
      {"64_rows_d64_pages_of_64_fp32", 64, 2, 64, 4096, 64, kFp32},
      {"64_rows_d64_pages_of_64_bf16", 64, 2, 64, 4096, 64, kBf16},
      {"64_rows_d128_pages_of_64_fp32", 64, 4, 128, 4096, 64, kFp32},
      {"64_rows_d128_pages_of_64_bf16", 64, 4, 128, 4096, 64, kBf16},
      {"32_rows_d64_window_of_272_fp32", 32, 2, 64, 272, 16, kFp32},
      {"64_rows_d128_window_of_272_bf16", 64, 4, 128, 272, 16, kBf16},
      {"16_rows_d64_pages_of_64_fp32", 16, 2, 64, 4096, 64, kFp32},
      {"8_rows_d128_pages_of_64_fp32", 8, 8, 128, 4096, 64, kFp32},
  };
  const AttentionSetting decode[] = {
      {"1_row_d64_pages_of_64_fp32", 1, 1, 64, 8192, 64, kFp32},
      {"2_rows_d64_pages_of_64_fp32", 2, 2, 64, 8192, 64, kFp32},
      {"2_rows_d64_pages_of_64_bf16", 2, 2, 64, 8192, 64, kBf16},
      {"2_rows_d64_window_of_272_fp32", 2, 2, 64, 272, 16, kFp32},
      {"4_rows_d128_pages_of_64_fp32", 4, 4, 128, 8192, 64, kFp32},
      {"4_rows_d128_pages_of_64_bf16", 4, 4, 128, 8192, 64, kBf16},
      {"4_rows_d128_window_of_272_bf16", 4, 4, 128, 272, 16, kBf16},
      {"8_rows_d128_pages_of_64_bf16", 8, 8, 128, 8192, 64, kBf16},
  };
  for (const AttentionSetting& s : prefill) {
    benchmark::RegisterBenchmark(("AttendPrefill/" + std::string(s.name) + "/one_thread").c_str(),
                                 [s](benchmark::State& state) { Attend(state, s, 1); });
  }
  for (const AttentionSetting& s : decode) {
    benchmark::RegisterBenchmark(
        ("AttendDecode/" + std::string(s.name) + "/one_thread").c_str(),
        [s](benchmark::State& state) { Attend(state, s, kFarAboveCaches); });
  }
}

// ---- matrices -------------------------------------------------------------------------------

struct Product {
  int outputs;
  int inputs;
  int rows;
  MatMulType type;
};

// Weights come from memory where `cold`, as they do in a model larger than the caches.
void MatMul(benchmark::State& state, const Product& p, int threads, bool cold) {
  const int all_threads = omp_get_max_threads();
  omp_set_num_threads(threads);
  const auto w = Floats(int64_t{p.outputs} * p.inputs);
  const auto x = Floats(int64_t{p.rows} * p.inputs);
  std::vector<float> y(int64_t{p.rows} * p.outputs);
  std::vector<PackedMatrix> matrices;
  const int64_t copies =
      cold ? std::max<int64_t>(1, kFarAboveCaches / (4 * int64_t{p.outputs} * p.inputs)) : 1;
  for (int64_t i = 0; i < copies; ++i) {
    auto matrix = PackedMatrix::Create(w.data(), p.outputs, p.inputs, p.type);
    if (!matrix.ok()) return state.SkipWithError(matrix.status().ToString().c_str());
    matrices.push_back(std::move(*matrix));
  }
  size_t turn = 0;
  for (auto _ : state) {
    matrices[turn++ % matrices.size()].Run(x.data(), p.rows, y.data());
    benchmark::ClobberMemory();
  }
  SetRates(state, static_cast<double>(matrices[0].bytes()), 2.0 * p.rows * p.outputs * p.inputs);
  omp_set_num_threads(all_threads);
}

void RegisterMatrices() {
  const auto name = [](const Product& p, bool cold) {
    return std::string("MatMul/") + (p.type == MatMulType::kFloat32 ? "fp32/" : "bf16/") +
           std::to_string(p.outputs) + "x" + std::to_string(p.inputs) + "/rows_" +
           std::to_string(p.rows) + (cold ? "/from_memory" : "/from_cache");
  };
  std::vector<std::pair<Product, bool>> products;
  for (int rows : {1, 4, 16, 512}) {
    products.push_back({{1024, 256, rows, MatMulType::kFloat32}, false});
    products.push_back({{256, 1024, rows, MatMulType::kFloat32}, false});
  }
  for (int rows : {1, 2, 4, 8, 16, 32, 64, 512}) {
    products.push_back({{2048, 2048, rows, MatMulType::kFloat32}, true});
  }
  for (int rows : {1, 16, 512}) {
    products.push_back({{2048, 2048, rows, MatMulType::kBfloat16}, true});
  }
  for (const auto& [p, cold] : products) {
    const auto run = [p = p, cold = cold](int threads) {
      return [=](benchmark::State& state) { MatMul(state, p, threads, cold); };
    };
    benchmark::RegisterBenchmark((name(p, cold) + "/one_thread").c_str(), run(1));
    benchmark::RegisterBenchmark((name(p, cold) + "/all_threads").c_str(),
                                 run(omp_get_max_threads()))
        ->UseRealTime();
  }
}

// ---- small operations -----------------------------------------------------------------------

void RmsNormOf(benchmark::State& state, int rows, int dim) {
  const auto x = Floats(int64_t{rows} * dim), weight = Floats(dim);
  std::vector<float> out(x.size());
  for (auto _ : state) {
    RmsNorm(x.data(), weight.data(), rows, dim, 1e-5f, out.data());
    benchmark::ClobberMemory();
  }
  SetRates(state, 8.0 * rows * dim, 0);
}

void SiluMulOf(benchmark::State& state, int rows, int columns) {
  const auto x = Floats(int64_t{2} * rows * columns);
  std::vector<float> out(int64_t{rows} * columns);
  for (auto _ : state) {
    SiluMul(x.data(), rows, columns, out.data());
    benchmark::ClobberMemory();
  }
  SetRates(state, 12.0 * rows * columns, 0);
}

void RopeTableOf(benchmark::State& state, int rows, int half) {
  std::vector<int32_t> positions(rows);
  std::iota(positions.begin(), positions.end(), 100000);
  const auto frequencies = Floats(half);
  std::vector<float> table(int64_t{rows} * 2 * half);
  for (auto _ : state) {
    RopeTable(positions.data(), rows, frequencies.data(), half, table.data());
    benchmark::ClobberMemory();
  }
  SetRates(state, 8.0 * rows * half, 0);
}

void ApplyRopeOf(benchmark::State& state, int rows, int heads, int half) {
  auto x = Floats(int64_t{rows} * heads * 2 * half);
  std::vector<float> table(int64_t{rows} * 2 * half, 0.70710678f);
  for (auto _ : state) {
    ApplyRope(x.data(), int64_t{heads} * 2 * half, rows, heads, half, table.data());
    benchmark::ClobberMemory();
  }
  SetRates(state, 16.0 * rows * heads * half, 0);
}

void AddOf(benchmark::State& state, int64_t n) {
  auto x = Floats(n);
  const std::vector<float> y(n);
  for (auto _ : state) {
    Add(x.data(), y.data(), n);
    benchmark::ClobberMemory();
  }
  SetRates(state, 12.0 * static_cast<double>(n), 0);
}

void StoreRowsOf(benchmark::State& state, int rows, int count) {
  const auto x = Floats(int64_t{rows} * count);
  std::vector<std::byte> out(int64_t{2} * rows * count);
  for (auto _ : state) {
    StoreRows(x.data(), count, rows, count, Storage::kBfloat16, out.data());
    benchmark::ClobberMemory();
  }
  SetRates(state, 6.0 * rows * count, 0);
}

void RegisterOps() {
  for (int rows : {1, 512}) {
    const auto add = [&](const char* op, auto run) {
      benchmark::RegisterBenchmark(
          (std::string(op) + "/rows_" + std::to_string(rows) + "/all_threads").c_str(), run)
          ->UseRealTime();
    };
    using State = benchmark::State;
    add("RmsNorm/2048", [=](State& state) { RmsNormOf(state, rows, 2048); });
    add("SiluMul/5632", [=](State& state) { SiluMulOf(state, rows, 5632); });
    add("RopeTable/64", [=](State& state) { RopeTableOf(state, rows, 64); });
    add("ApplyRope/40x64", [=](State& state) { ApplyRopeOf(state, rows, 40, 64); });
    add("Add/2048", [=](State& state) { AddOf(state, int64_t{rows} * 2048); });
    add("StoreRows/1024", [=](State& state) { StoreRowsOf(state, rows, 1024); });
  }
}

void RegisterCeilings() {
  const int threads = omp_get_max_threads();
  benchmark::RegisterBenchmark("Ceiling/read/one_thread",
                               [](benchmark::State& state) { ReadMemory(state, 1); });
  benchmark::RegisterBenchmark("Ceiling/read/all_threads", [=](benchmark::State& state) {
    ReadMemory(state, threads);
  })->UseRealTime();
  benchmark::RegisterBenchmark("Ceiling/avx2_fma/one_thread", FmaPeak);
}

}  // namespace

void RegisterAll() {
  RegisterCeilings();
  RegisterAttention();
  RegisterMatrices();
  RegisterOps();
}

}  // namespace headlong::cpu

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  std::fprintf(stderr, "instruction set of the kernels: %s\n", headlong::cpu::AttentionIsa());
  headlong::cpu::RegisterAll();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
