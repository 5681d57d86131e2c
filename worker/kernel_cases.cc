#include "worker/kernel_cases.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <random>

#include "absl/strings/str_cat.h"
#include "cache/row_format.h"
#include "common/huge_array.h"
#include "common/status.h"
#include "worker/kernels/attention_cpu.h"
#include "worker/kernels/matmul_cpu.h"
#include "worker/kernels/op_cpu.h"
#include "worker/read_memory.h"

namespace headlong::cpu {
namespace {

constexpr int64_t kFarAboveCaches = int64_t{256} << 20;  // bytes
constexpr int64_t kFitsIntoCaches = int64_t{2} << 20;

template <typename T>
absl::StatusOr<HugeArray<T>> HugePages(int64_t count) {
  HugeArray<T> array = TakeHugeArray<T>(count);
  if (array != nullptr) return array;
  return absl::ResourceExhaustedError(
      absl::StrCat("no memory for ", count * sizeof(T), " bytes of data"));
}

std::vector<float> Floats(int64_t n) {
  std::vector<float> values(n);
  std::minstd_rand random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::generate(values.begin(), values.end(), [&] { return uniform(random); });
  return values;
}

// ---- memory ---------------------------------------------------------------------------------

absl::StatusOr<KernelCase> MakeReadMemory(int threads) {
  constexpr int64_t kFloats = kFarAboveCaches / 4;
  ASSIGN_OR_RETURN(auto array, HugePages<float>(kFloats));
  std::fill_n(array.get(), kFloats, 1.0f);
  const int64_t share = kFloats / threads;
  const std::shared_ptr<float[]> memory = std::move(array);
  const auto run = [memory, share, threads] {
    float sum = 0;
#pragma omp parallel for reduction(+ : sum) num_threads(threads)
    for (int t = 0; t < threads; ++t) sum += ReadAndSum(memory.get() + t * share, share);
    asm volatile("" : : "m"(sum));
  };
  return KernelCase{4.0 * static_cast<double>(share) * threads, 0, run};
}

// ---- attention ------------------------------------------------------------------------------

struct AttentionSetting {
  int rows;  // of a tile
  int group;
  int head_dim;
  int keys;        // that a tile sees
  int run_tokens;  // keys per run; runs lie in random order in memory
  Storage storage;

  RowFormat format() const { return {storage, head_dim}; }
  int64_t page_bytes() const { return 2 * run_tokens * format().bytes(); }
};

// Lanes that together fill `bytes` of memory.
struct Lanes {
  HugeArray<std::byte> memory;
  std::vector<std::vector<AttentionRun>> runs;  // of each lane
};

absl::StatusOr<Lanes> MakeLanes(const AttentionSetting& s, int64_t bytes, int64_t least_lanes) {
  const int64_t page_bytes = s.page_bytes();
  const int64_t lane_pages = (s.keys + s.run_tokens - 1) / s.run_tokens;
  const int64_t count = std::max(least_lanes, bytes / (lane_pages * page_bytes));
  const int64_t taken = count * lane_pages * page_bytes;
  Lanes lanes;
  ASSIGN_OR_RETURN(lanes.memory, HugePages<std::byte>(taken));
  const auto from = Floats(int64_t{2} * s.run_tokens * s.head_dim);
  for (int64_t at = 0; at < taken; at += page_bytes / 2) {
    const Row rows = RowsIn(&lanes.memory[at], s.format(), s.run_tokens);
    for (int i = 0; i < s.run_tokens; ++i) {
      EncodeRow(&from[i * s.head_dim], s.format(), rows.At(s.format(), i));
    }
  }
  std::vector<int64_t> pages(count * lane_pages);
  std::iota(pages.begin(), pages.end(), 0);
  std::shuffle(pages.begin(), pages.end(), std::mt19937(1));
  lanes.runs.resize(count);
  for (int64_t i = 0; i < count * lane_pages; ++i) {
    const int64_t position = i % lane_pages * s.run_tokens;
    std::byte* const page = &lanes.memory[pages[i] * page_bytes];
    const Row keys = RowsIn(page, s.format(), s.run_tokens);
    const Row values = RowsIn(page + page_bytes / 2, s.format(), s.run_tokens);
    lanes.runs[i / lane_pages].push_back({keys.codes, values.codes, position,
                                          std::min<int64_t>(s.run_tokens, s.keys - position),
                                          keys.scales, values.scales});
  }
  return lanes;
}

AttentionTile TileOf(const AttentionSetting& s, const float* q, float* out) {
  AttentionTile tile;
  tile.q = q;
  tile.q_stride = tile.out_stride = int64_t{s.group} * s.head_dim;
  tile.rows = s.rows;
  tile.group = s.group;
  tile.head_dim = tile.key_dims = tile.value_dims = s.head_dim;
  tile.first_position = s.keys;  // sees every key
  tile.scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim));
  tile.key_plain = tile.value_plain = tile.key_codes = tile.value_codes = s.storage;
  tile.out = out;
  return tile;
}

// One call attends one tile on every thread, each to the next lane.
struct Attention {
  AttentionSetting setting;
  Lanes lanes;
  std::vector<float> q;
  std::vector<float> out;
  size_t turn = 0;

  void Run(int threads) {
    const int64_t floats = int64_t{setting.rows} * setting.head_dim;
#pragma omp parallel for num_threads(threads)
    for (int t = 0; t < threads; ++t) {
      AttentionTile tile = TileOf(setting, q.data(), &out[t * floats]);
      tile.runs = lanes.runs[(turn + t) % lanes.runs.size()];
      AttendTile(tile);
    }
    turn += threads;
  }
};

absl::StatusOr<KernelCase> MakeAttention(const AttentionSetting& s, int threads,
                                         int64_t working_set) {
  auto attention = std::make_shared<Attention>();
  attention->setting = s;
  ASSIGN_OR_RETURN(attention->lanes, MakeLanes(s, working_set, threads));
  attention->q = Floats(int64_t{s.rows} * s.head_dim);
  attention->out.resize(attention->q.size() * threads);
  const double keys = static_cast<double>(s.keys) * threads;
  return KernelCase{2.0 * keys * static_cast<double>(s.format().bytes()),
                    4.0 * s.rows * keys * s.head_dim,
                    [attention, threads] { attention->Run(threads); }};
}

KernelCaseMaker AttentionCase(const char* operation, const AttentionSetting& s, int threads,
                              int64_t working_set) {
  return {operation,
          absl::StrCat(s.rows, s.rows == 1 ? " row, " : " rows, ", s.keys, " keys of ", s.head_dim,
                       " ", Av(StorageName(s.storage))),
          [=] { return MakeAttention(s, threads, working_set); }};
}

// ---- matrices -------------------------------------------------------------------------------

struct Product {
  std::vector<PackedMatrix> copies;  // as many as it takes to come from memory
  std::vector<float> x;
  std::vector<float> y;
  int rows = 0;
  size_t turn = 0;
};

absl::StatusOr<KernelCase> MakeMatMul(int rows, int outputs, int inputs) {
  const int64_t bytes = 4 * int64_t{outputs} * inputs;
  const int64_t copies =
      bytes <= kFitsIntoCaches ? 1 : std::max<int64_t>(1, kFarAboveCaches / bytes);
  auto product = std::make_shared<Product>();
  product->rows = rows;
  product->x = Floats(int64_t{rows} * inputs);
  product->y.resize(int64_t{rows} * outputs);
  const auto weights = Floats(int64_t{outputs} * inputs);
  for (int64_t i = 0; i < copies; ++i) {
    ASSIGN_OR_RETURN(PackedMatrix matrix,
                     PackedMatrix::Create(weights.data(), outputs, inputs, MatMulType::kFloat32));
    product->copies.push_back(std::move(matrix));
  }
  const auto run = [product] {
    PackedMatrix& matrix = product->copies[product->turn++ % product->copies.size()];
    matrix.Run(product->x.data(), product->rows, product->y.data());
  };
  return KernelCase{static_cast<double>(product->copies[0].bytes()), 2.0 * rows * outputs * inputs,
                    run};
}

// ---- small operations -----------------------------------------------------------------------

// `run` gets buffers of `in` and `out` floats.
KernelCaseMaker ElementwiseCase(const char* operation, int rows, int columns, int64_t in,
                                int64_t out, std::function<void(float*, float*)> run) {
  return {operation, absl::StrCat(rows, " x ", columns), [=]() -> absl::StatusOr<KernelCase> {
            auto x = std::make_shared<std::vector<float>>(Floats(in));
            auto y = std::make_shared<std::vector<float>>(out);
            return KernelCase{4.0 * static_cast<double>(in + out), 0,
                              [x, y, run] { run(x->data(), y->data()); }};
          }};
}

}  // namespace

KernelCaseMaker ReadMemoryCase(int threads) {
  return {"read memory", absl::StrCat(kFarAboveCaches >> 20, " MiB"),
          [=] { return MakeReadMemory(threads); }};
}

KernelCaseMaker MatMulCase(int rows, int outputs, int inputs) {
  return {"matrix product", absl::StrCat(rows, " x ", inputs, " by ", inputs, " x ", outputs),
          [=] { return MakeMatMul(rows, outputs, inputs); }};
}

std::vector<KernelCaseMaker> AttentionCases(int threads) {
  constexpr Storage kFp32 = Storage::kFloat32, kBf16 = Storage::kBfloat16;
  constexpr Storage kFp16 = Storage::kFloat16;
  constexpr Storage kFp8 = Storage::kFloat8, kInt8 = Storage::kInt8, kInt4 = Storage::kInt4;
  constexpr AttentionSetting kPrefill[] = {
      {64, 2, 64, 4096, 64, kFp32},  {64, 2, 64, 4096, 64, kBf16},  {64, 4, 128, 4096, 64, kFp32},
      {64, 4, 128, 4096, 64, kBf16}, {32, 2, 64, 272, 16, kFp32},   {64, 4, 128, 272, 16, kBf16},
      {16, 2, 64, 4096, 64, kFp32},  {64, 4, 128, 4096, 64, kInt8}, {64, 4, 128, 4096, 64, kFp16},
  };
  constexpr AttentionSetting kDecode[] = {
      {1, 1, 64, 8192, 64, kFp32},  {2, 2, 64, 8192, 64, kFp32},  {2, 2, 64, 8192, 64, kBf16},
      {2, 2, 64, 272, 16, kFp32},   {4, 4, 128, 8192, 64, kFp32}, {4, 4, 128, 8192, 64, kBf16},
      {4, 4, 128, 272, 16, kBf16},  {8, 8, 128, 8192, 64, kBf16}, {2, 2, 64, 8192, 64, kInt8},
      {4, 4, 128, 8192, 64, kInt8}, {4, 4, 128, 8192, 64, kFp8},  {4, 4, 128, 8192, 64, kInt4},
      {2, 2, 64, 8192, 64, kFp16},  {4, 4, 128, 8192, 64, kFp16},
  };
  std::vector<KernelCaseMaker> cases;
  for (const AttentionSetting& s : kDecode) {
    cases.push_back(AttentionCase("decode attention", s, threads, kFarAboveCaches));
  }
  for (const AttentionSetting& s : kPrefill) {
    cases.push_back(AttentionCase("prefill attention", s, threads, 0));
  }
  return cases;
}

std::vector<KernelCaseMaker> ElementwiseCases() {
  std::vector<KernelCaseMaker> cases;
  for (const int rows : {1, 512}) {
    constexpr int kHidden = 2048, kInner = 5632, kHeads = 40, kHalf = 32;
    const int64_t hidden = int64_t{rows} * kHidden, inner = int64_t{rows} * kInner;
    const int64_t heads = int64_t{rows} * kHeads * 2 * kHalf, table = int64_t{rows} * 2 * kHalf;
    cases.push_back(ElementwiseCase(
        "RMS norm", rows, kHidden, hidden + kHidden, hidden,
        [=](float* x, float* y) { RmsNorm(x, x + hidden, rows, kHidden, 1e-5f, y); }));
    cases.push_back(ElementwiseCase("SiLU, product", rows, kInner, 2 * inner, inner,
                                    [=](float* x, float* y) { SiluMul(x, rows, kInner, y); }));
    cases.push_back(ElementwiseCase(
        "rotary embedding", rows, kHeads * 2 * kHalf, table, 2 * heads,
        [=](float* x, float* y) { ApplyRope(y, kHeads * 2 * kHalf, rows, kHeads, kHalf, x); }));
    cases.push_back(ElementwiseCase("residual sum", rows, kHidden, hidden, 2 * hidden,
                                    [=](float* x, float* y) { Add(y, x, hidden); }));
  }
  return cases;
}

}  // namespace headlong::cpu
