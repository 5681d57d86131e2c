#include "worker/kernel_cases_cuda.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

#include "common/status.h"
#include "worker/kernels/bench_cuda.h"
#include "worker/kernels/decode_cuda.h"
#include "worker/kernels/op_cuda.h"
#include "worker/kernels/sample_cuda.h"

namespace headlong::cuda {
namespace {

constexpr int kHeadDim = 128;
constexpr int kGroup = 4;
constexpr int kReplays = 15, kWarmUps = 3;

// ---- decode attention -------------------------------------------------------------------------

std::vector<int> Repeat(int count, int length, int more = 0, int more_length = 0) {
  std::vector<int> lengths(count, length);
  lengths.insert(lengths.end(), more, more_length);
  return lengths;
}

constexpr int kSinks = 4;  // first tokens, plain beside coded rows

// Lanes that share the memory: each has pages of its own in a random order, 64 tokens to a page, 16
// in lanes that stay whole. Where there are plain rows, they have a page besides.
struct Layers {
  std::vector<std::vector<DecodeLane>> lanes;  // [layer]
  std::vector<int32_t> page_ids;
};

Layers PlaceLanes(const std::vector<int>& lengths, int64_t token_bytes, bool plain_sinks,
                  const DeviceArray<std::byte>& memory, int layers) {
  const int64_t bytes = memory.size(), page_bytes = kFullPageTokens * token_bytes,
                quarter = page_bytes / 4;
  std::mt19937 random(1);
  std::vector<int32_t> free(bytes / page_bytes);
  std::iota(free.begin(), free.end(), 0);
  std::shuffle(free.begin(), free.end(), random);
  Layers placed;
  for (int layer = 0; layer < layers; ++layer) {
    placed.lanes.emplace_back();
    for (const int length : lengths) {
      DecodeLane lane;
      const bool local = length <= kWholeLaneSlots;
      const LaneRule rule = local ? LaneRule{false, kSinks, 100000} : LaneRule{};
      SetKept(rule, length, lane);
      if (plain_sinks) {
        SetSinks(rule, length, kSinks, lane);
        lane.sinks = memory.get() + free.back() * page_bytes;
        free.pop_back();
      }
      lane.pages = memory.get();
      lane.page_stride = local ? quarter : page_bytes;
      lane.key_dims = lane.value_dims = kHeadDim;
      lane.query = static_cast<int32_t>(placed.lanes.back().size()) * kGroup;
      lane.page_ids = reinterpret_cast<const int32_t*>(placed.page_ids.size() * sizeof(int32_t));
      for (int begin = 0; begin < length; begin += kFullPageTokens) {
        const int32_t page = free.back();
        free.pop_back();
        for (int i = 0; i < (local ? 4 : 1); ++i) {
          placed.page_ids.push_back(local ? page * 4 + i : page);
        }
      }
      placed.lanes.back().push_back(lane);
    }
  }
  return placed;
}

// One launch and its merge per call, as many layers as keep the L2 from holding any of it.
struct DecodeLayers {
  DeviceArray<int32_t> page_ids;
  DeviceArray<float> out, lse, part_out, part_lse;
  std::vector<DeviceArray<DecodeItem>> items;
  std::vector<DeviceArray<int32_t>> cta_items;
  std::vector<DeviceArray<DecodeMerge>> merges;
  DecodeAttention decode;

  void Run(int layer, cudaStream_t stream) {
    decode.items = items[layer].get();
    decode.cta_items = cta_items[layer].get();
    decode.merges = merges[layer].get();
    decode.merge_count = static_cast<int>(merges[layer].size());
    CheckCuda(LaunchDecode(decode, stream), "launching");
  }
};

absl::StatusOr<KernelCase> MakeDecode(const BenchMemory& memory, Storage keys, Storage values,
                                      const std::vector<int>& lengths) {
  KernelCase one;
  const bool coded = IsCoded(keys) || IsCoded(values);
  const int64_t token_bytes =
      RowFormat{keys, kHeadDim}.bytes() + RowFormat{values, kHeadDim}.bytes();
  for (const int length : lengths) one.bytes += static_cast<double>(length * token_bytes);
  one.calls = CallsFor(one.bytes * 9 / 8);
  Layers placed = PlaceLanes(lengths, token_bytes, coded, memory.memory, one.calls);
  auto layers = std::make_shared<DecodeLayers>();
  const int64_t rows = std::ssize(lengths) * kGroup;
  layers->page_ids = DeviceArray<int32_t>(placed.page_ids);
  layers->out = DeviceArray<float>(rows * kHeadDim);
  layers->lse = DeviceArray<float>(rows);
  DecodeAttention& decode = layers->decode;
  const auto own = keys == Storage::kFloat16 ? ElementType::kFloat16 : ElementType::kBfloat16;
  decode.shape = {own, kHeadDim, kGroup, !coded, keys, values};
  decode.ctas = PrepareDecode(decode.shape);
  DecodePlan plan;
  for (std::vector<DecodeLane>& lanes : placed.lanes) {
    for (DecodeLane& lane : lanes) {
      lane.page_ids = layers->page_ids.get() + reinterpret_cast<intptr_t>(lane.page_ids) /
                                                   static_cast<intptr_t>(sizeof(int));
    }
    PlanDecode(lanes, decode.ctas, plan);
    layers->items.emplace_back(plan.items);
    layers->cta_items.emplace_back(plan.cta_items);
    layers->merges.emplace_back(plan.merges);
  }
  layers->part_out = DeviceArray<float>(int64_t{plan.parts} * kGroup * kHeadDim);
  layers->part_lse = DeviceArray<float>(int64_t{plan.parts} * kGroup);
  decode.scale = 0.088388f;
  decode.q = memory.memory.get();
  decode.out = layers->out.get();
  decode.lse = layers->lse.get();
  decode.part_out = layers->part_out.get();
  decode.part_lse = layers->part_lse.get();
  one.run = [layers, stream = memory.stream](int call) { layers->Run(call, stream); };
  return one;
}

// ---- operations on rows -----------------------------------------------------------------------

// An operation on rows of fp32 that reads `read` and writes `written` bytes a call.
struct RowsCase {
  const char* operation;
  std::string shape;
  double read = 0, written = 0;
  int64_t floats = 0;  // of its own memory: read, or written
  std::function<void(float* own, cudaStream_t)> run;
};

KernelCaseMaker MakerOf(const BenchMemory& memory, RowsCase rows) {
  const auto make = [rows, stream = memory.stream]() -> absl::StatusOr<KernelCase> {
    KernelCase one;
    one.bytes = rows.read + rows.written;
    one.calls = kMostCalls;
    const int64_t floats = (rows.floats + 63) / 64 * 64;
    const auto own = std::make_shared<DeviceArray<float>>(floats * kMostCalls);
    CheckCuda(LaunchFillRandom(reinterpret_cast<std::byte*>(own->get()), 4 * own->size(), stream),
              "filling");
    one.run = [=](int call) { rows.run(own->get() + call * floats, stream); };
    return one;
  };
  return {rows.operation, rows.shape, make};
}

RowsCase NormCase(const BenchMemory& memory, int rows) {
  constexpr int kColumns = 4096;
  const int64_t count = int64_t{rows} * kColumns;
  const auto run = [=, weight = reinterpret_cast<const float*>(memory.memory.get())](
                       float* own, cudaStream_t stream) {
    RmsNormCall call;
    call.x = own;
    call.add = own + count;
    call.weight = weight;
    call.out = own + 2 * count;
    call.rounded = {reinterpret_cast<uint16_t*>(own + 3 * count), kColumns};
    call.rows = rows;
    call.columns = kColumns;
    call.eps = 1e-5f;
    RmsNorm(call, stream);
  };
  const auto bytes = static_cast<double>(count);
  return {"residual sum, RMS norm",
          absl::StrCat(rows, " x ", kColumns),
          8 * bytes,
          10 * bytes,
          4 * count,
          run};
}

RowsCase SiluCase(int rows) {
  constexpr int kColumns = 14336;
  const int64_t count = int64_t{rows} * kColumns;
  const auto run = [=](float* own, cudaStream_t stream) {
    SiluMulCall call;
    call.gate_up = own;
    call.out = own + 2 * count;
    call.rounded = {reinterpret_cast<uint16_t*>(own + 3 * count), kColumns};
    call.rows = rows;
    call.columns = kColumns;
    SiluMul(call, stream);
  };
  const auto bytes = static_cast<double>(count);
  return {
      "SiLU, product", absl::StrCat(rows, " x ", kColumns), 8 * bytes, 6 * bytes, 4 * count, run};
}

RowsCase HeadsCase(const BenchMemory& memory, int rows) {
  constexpr int kQ = 32, kK = 8, kStride = (kQ + 2 * kK) * kHeadDim;
  const auto run = [=, weight = reinterpret_cast<const float*>(memory.memory.get())](
                       float* own, cudaStream_t stream) {
    NormHeads({own, kStride, rows, kQ, kK, kHeadDim, weight, weight, 1e-6f}, stream);
  };
  const double bytes = 4.0 * rows * (kQ + kK) * kHeadDim;
  return {"norm of q and k",
          absl::StrCat(rows, " x ", kQ + kK, " heads of ", kHeadDim),
          bytes,
          bytes,
          int64_t{rows} * kStride,
          run};
}

// Logits are even in [-1, 1): at this temperature weights reach over 29 octaves, as a model's do.
constexpr float kOctavesPerLogit = 14.4f;

RowsCase SampleCase(int rows, const char* name, TokenDraw draw) {
  constexpr int kColumns = 128256;
  const int64_t count = int64_t{rows} * kColumns;
  std::vector<TokenDraw> draws(rows, draw);
  for (int row = 0; row < rows; ++row) draws[row].position = row;
  const auto on_device = std::make_shared<DeviceArray<TokenDraw>>(draws);
  const auto out = std::make_shared<DeviceArray<float>>(rows);
  const auto run = [=](float* own, cudaStream_t stream) {
    SampleTokensCall call;
    call.logits = own;
    call.first_columns[1] = kColumns;
    call.rows = rows;
    call.draws = on_device->get();
    call.out = out->get();
    SampleTokens(call, stream);
  };
  return {"drawing tokens",
          absl::StrCat(rows, " x ", kColumns, ", ", name),
          4.0 * static_cast<double>(count),
          0,
          count,
          run};
}

}  // namespace

double GraphSeconds(const KernelCase& one, cudaStream_t stream) {
  one.run(0);  // what is planned or loaded at the first use, no graph can hold
  CheckCuda(cudaStreamSynchronize(stream), "warming up");
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  CheckCuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording");
  for (int call = 0; call < one.calls; ++call) one.run(call);
  CheckCuda(cudaStreamEndCapture(stream, &graph), "recording");
  CheckCuda(cudaGraphInstantiate(&executable, graph, 0), "making a graph");
  cudaEvent_t begin, end;
  CheckCuda(cudaEventCreate(&begin), "an event");
  CheckCuda(cudaEventCreate(&end), "an event");
  std::vector<double> seconds;
  for (int i = 0; i < kWarmUps + kReplays; ++i) {
    CheckCuda(cudaEventRecord(begin, stream), "an event");
    CheckCuda(cudaGraphLaunch(executable, stream), "replaying");
    CheckCuda(cudaEventRecord(end, stream), "an event");
    CheckCuda(cudaEventSynchronize(end), "replaying");
    float ms = 0;
    CheckCuda(cudaEventElapsedTime(&ms, begin, end), "measuring");
    if (i >= kWarmUps) seconds.push_back(ms / 1e3 / one.calls);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  std::nth_element(seconds.begin(), seconds.begin() + kReplays / 2, seconds.end());
  return seconds[kReplays / 2];
}

KernelCaseMaker ReadMemoryCase(const BenchMemory& memory, int blocks_per_multiprocessor) {
  const auto make = [&memory, blocks_per_multiprocessor]() -> absl::StatusOr<KernelCase> {
    const auto out = std::make_shared<DeviceArray<uint32_t>>(1);
    KernelCase one;
    one.bytes = static_cast<double>(memory.memory.size());
    one.run = [=, &memory](int) {
      CheckCuda(LaunchReadOnly(memory.memory.get(), memory.memory.size(),
                               blocks_per_multiprocessor * memory.multiprocessors, out->get(),
                               memory.stream),
                "reading");
    };
    return one;
  };
  return {"read memory", absl::StrCat(memory.memory.size() >> 20, " MiB"), make};
}

std::vector<KernelCaseMaker> DecodeCases(const BenchMemory& memory) {
  const std::pair<const char*, std::vector<int>> rows[] = {
      {"64 x 32K", Repeat(64, 32768)},
      {"32 x 32K + 32 x 512", Repeat(32, 32768, 32, 512)},
      {"1 x 32K + 63 x 512", Repeat(1, 32768, 63, 512)},
      {"8 x 128K", Repeat(8, 131072)},
      {"2 x 128K + 6 x 300", Repeat(2, 131072, 6, 300)},
      {"16 x 128K + 48 x 300", Repeat(16, 131072, 48, 300)},
      {"512 x 8K", Repeat(512, 8192)},
      {"64 x 32K + 192 x 300", Repeat(64, 32768, 192, 300)}};
  std::vector<KernelCaseMaker> cases;
  const auto add = [&](Storage keys, Storage values, const char* name,
                       const std::vector<int>& lengths) {
    const std::string types =
        keys == values ? std::string(StorageName(keys))
                       : absl::StrCat(Av(StorageName(keys)), "/", Av(StorageName(values)));
    cases.push_back({"decode attention", absl::StrCat("lanes of 4 x 128 ", types, ": ", name),
                     [=, &memory] { return MakeDecode(memory, keys, values, lengths); }});
  };
  for (const auto& [name, lengths] : rows) {
    add(Storage::kBfloat16, Storage::kBfloat16, name, lengths);
  }
  for (const Storage type : {Storage::kFloat16, Storage::kFloat8, Storage::kInt8, Storage::kInt4}) {
    add(type, type, "64 x 32K", Repeat(64, 32768));
    add(type, type, "32 x 128K", Repeat(32, 131072));
    add(type, type, "32 x 32K + 32 x 512", Repeat(32, 32768, 32, 512));
    add(type, type, "16 x 128K + 48 x 300", Repeat(16, 131072, 48, 300));
  }
  add(Storage::kInt8, Storage::kInt4, "64 x 32K", Repeat(64, 32768));
  add(Storage::kBfloat16, Storage::kInt8, "64 x 32K", Repeat(64, 32768));
  return cases;
}

std::vector<KernelCaseMaker> ElementwiseCases(const BenchMemory& memory) {
  std::vector<KernelCaseMaker> cases;
  for (const int rows : {1, 16, 512}) {
    cases.push_back(MakerOf(memory, NormCase(memory, rows)));
    cases.push_back(MakerOf(memory, SiluCase(rows)));
    cases.push_back(MakerOf(memory, HeadsCase(memory, rows)));
  }
  constexpr uint64_t kMostMass = 0xf333333333333333;  // 0.95
  const std::pair<const char*, TokenDraw> draws[] = {
      {"greedy", {}},
      {"temperature", {kOctavesPerLogit}},
      {"top-p", {kOctavesPerLogit, 0, kMostMass}},
      {"top-k and top-p", {kOctavesPerLogit, 50, kMostMass}}};
  for (const auto& [name, draw] : draws) {
    for (const int rows : {1, 16, 64}) {
      cases.push_back(MakerOf(memory, SampleCase(rows, name, draw)));
    }
  }
  return cases;
}

}  // namespace headlong::cuda
