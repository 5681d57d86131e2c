// Decode attention over unequal lanes on one GPU: bytes of K and V that the lanes keep, time of
// kernel and merge in a CUDA graph, and the share of what a kernel that only reads can reach in the
// same run. bf16, head_dim 128, groups of 4, pages of 64 tokens (16 in lanes of at most 640) in a
// random order, every layer's caches other memory, so that nothing is found in the L2.
#include <algorithm>
#include <cstdio>
#include <numeric>
#include <random>
#include <vector>

#include "worker/kernels/decode_cuda.h"
#include "worker/kernels/device_array.h"

namespace headlong::cuda {
namespace {

constexpr int kHeadDim = 128;
constexpr int kGroup = 4;
constexpr int64_t kRowBytes = 2 * kHeadDim;
constexpr int64_t kSetBytes = int64_t{1} << 30;  // read between two uses of the same memory
constexpr int kReplays = 15;

// Uniform in [-1, 1): zeros would draw less power and flatter the clock.
__global__ void FillRandom(uint16_t* to, int64_t count) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    uint64_t x = (i + 1) * 0x9e3779b97f4a7c15u;
    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 32;
    const float value = static_cast<float>(x & 0xffffff) / (1 << 23) - 1;
    to[i] = static_cast<uint16_t>(__float_as_uint(value) >> 16);
  }
}

__global__ void ReadOnly(const uint4* from, int64_t count, uint32_t* out) {
  uint32_t sum = 0;
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  for (; i + 7 * stride < count; i += 8 * stride) {
    uint4 x[8];
#pragma unroll
    for (int k = 0; k < 8; ++k) x[k] = __ldcs(from + i + k * stride);
#pragma unroll
    for (int k = 0; k < 8; ++k) sum += x[k].x ^ x[k].y ^ x[k].z ^ x[k].w;
  }
  if (sum == 0x12345678) *out = sum;
}

// Median of replays, in microseconds.
double MedianMicroseconds(cudaGraphExec_t graph, cudaStream_t stream) {
  cudaEvent_t begin, end;
  CheckCuda(cudaEventCreate(&begin), "event");
  CheckCuda(cudaEventCreate(&end), "event");
  std::vector<double> times;
  for (int i = 0; i < kReplays + 3; ++i) {
    CheckCuda(cudaEventRecord(begin, stream), "record");
    CheckCuda(cudaGraphLaunch(graph, stream), "replay");
    CheckCuda(cudaEventRecord(end, stream), "record");
    CheckCuda(cudaEventSynchronize(end), "replay");
    float ms = 0;
    CheckCuda(cudaEventElapsedTime(&ms, begin, end), "time");
    if (i >= 3) times.push_back(ms * 1e3);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::nth_element(times.begin(), times.begin() + kReplays / 2, times.end());
  return times[kReplays / 2];
}

template <typename Launch>
double TimeGraph(Launch launch) {
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  CheckCuda(cudaStreamCreate(&stream), "stream");
  CheckCuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  launch(stream);
  CheckCuda(cudaStreamEndCapture(stream, &graph), "capture");
  CheckCuda(cudaGraphInstantiate(&exec, graph, 0), "graph");
  const double time = MedianMicroseconds(exec, stream);
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  return time;
}

// TB/s of the best of several grids.
double ReadCeiling(const DeviceArray<std::byte>& memory, int multiprocessors) {
  DeviceArray<uint32_t> out(1);
  const int64_t quads = memory.size() / 16;
  double best = 0;
  for (const int blocks : {2, 4, 8, 16, 32}) {
    const double time = TimeGraph([&](cudaStream_t stream) {
      ReadOnly<<<blocks * multiprocessors, 256, 0, stream>>>(
          reinterpret_cast<const uint4*>(memory.get()), quads, out.get());
    });
    best = std::max(best, quads * 16 / time / 1e6);
  }
  return best;
}

struct Row {
  const char* name;
  std::vector<int> lengths;
};

std::vector<int> Repeat(int count, int length, int more = 0, int more_length = 0) {
  std::vector<int> lengths(count, length);
  lengths.insert(lengths.end(), more, more_length);
  return lengths;
}

std::vector<Row> Rows() {
  return {{"64 x 32K", Repeat(64, 32768)},
          {"32 x 32K + 32 x 512", Repeat(32, 32768, 32, 512)},
          {"1 x 32K + 63 x 512", Repeat(1, 32768, 63, 512)},
          {"8 x 128K", Repeat(8, 131072)},
          {"2 x 128K + 6 x 300", Repeat(2, 131072, 6, 300)},
          {"512 x 8K", Repeat(512, 8192)},
          {"64 x 32K + 192 x 300", Repeat(64, 32768, 192, 300)}};
}

// Lanes that share `memory`: each has pages of its own, anywhere in it.
struct Layers {
  std::vector<std::vector<DecodeLane>> lanes;  // [layer]
  std::vector<int32_t> page_ids;
};

Layers PlaceLanes(const std::vector<int>& lengths, int64_t bytes, int layers) {
  constexpr int64_t kPage = 2 * kFullPageTokens * kRowBytes, kQuarter = kPage / 4;
  std::mt19937 random(1);
  std::vector<int32_t> free(bytes / kPage);
  std::iota(free.begin(), free.end(), 0);
  std::shuffle(free.begin(), free.end(), random);
  Layers placed;
  for (int layer = 0; layer < layers; ++layer) {
    placed.lanes.emplace_back();
    for (const int length : lengths) {
      DecodeLane lane;
      const bool local = length <= kWholeLaneSlots;
      SetKept(local ? LaneRule{false, 4, 100000} : LaneRule{}, length, lane);
      lane.page_stride = local ? kQuarter : kPage;
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

struct Timing {
  int64_t bytes = 0;
  double microseconds = 0;
  int parts = 0;
};

// One launch pair per layer, as many layers as keep the L2 from holding any of it.
Timing TimeRow(const Row& row, const DeviceArray<std::byte>& memory, int ctas) {
  Timing timing;
  for (const int length : row.lengths) timing.bytes += 2 * length * kRowBytes;
  const int64_t held = timing.bytes + timing.bytes / 8;
  const int64_t layers = std::clamp<int64_t>(kSetBytes * 4 / held, 1, 32);
  Layers placed = PlaceLanes(row.lengths, memory.size(), static_cast<int>(layers));
  const DeviceArray<int32_t> page_ids(placed.page_ids);
  const int64_t rows = std::ssize(row.lengths) * kGroup;
  const DeviceArray<uint16_t> q(rows * kHeadDim);
  FillRandom<<<64, 256>>>(q.get(), q.size());
  const DeviceArray<float> out(rows * kHeadDim), lse(rows);
  std::vector<DeviceArray<DecodeItem>> items;
  std::vector<DeviceArray<int32_t>> cta_items;
  std::vector<DeviceArray<DecodeMerge>> merges;
  DecodePlan plan;
  for (std::vector<DecodeLane>& lanes : placed.lanes) {
    for (DecodeLane& lane : lanes) {
      lane.pages = memory.get();
      lane.page_ids = page_ids.get() + reinterpret_cast<intptr_t>(lane.page_ids) / sizeof(int32_t);
    }
    PlanDecode(lanes, ctas, plan);
    items.emplace_back(plan.items);
    cta_items.emplace_back(plan.cta_items);
    merges.emplace_back(plan.merges);
  }
  timing.parts = plan.parts;
  const DeviceArray<float> part_out(int64_t{plan.parts} * kGroup * kHeadDim);
  const DeviceArray<float> part_lse(int64_t{plan.parts} * kGroup);
  const double all = TimeGraph([&](cudaStream_t stream) {
    for (size_t layer = 0; layer < items.size(); ++layer) {
      DecodeAttention decode;
      decode.shape = {ElementType::kBfloat16, kHeadDim, kGroup};
      decode.scale = 0.088388f;
      decode.q = q.get();
      decode.out = out.get();
      decode.lse = lse.get();
      decode.items = items[layer].get();
      decode.cta_items = cta_items[layer].get();
      decode.ctas = ctas;
      decode.merges = merges[layer].get();
      decode.merge_count = static_cast<int>(merges[layer].size());
      decode.part_out = part_out.get();
      decode.part_lse = part_lse.get();
      CheckCuda(LaunchDecode(decode, stream), "launching");
    }
  });
  timing.microseconds = all / static_cast<double>(items.size());
  return timing;
}

int Main() {
  if (!HasDevice()) {
    std::printf("no CUDA device: nothing measured\n");
    return 0;
  }
  cudaDeviceProp device;
  CheckCuda(cudaGetDeviceProperties(&device, 0), "device");
  const int ctas = PrepareDecode({ElementType::kBfloat16, kHeadDim, kGroup});
  DeviceArray<std::byte> memory(5 * kSetBytes);
  FillRandom<<<1024, 256>>>(reinterpret_cast<uint16_t*>(memory.get()), memory.size() / 2);
  CheckCuda(cudaDeviceSynchronize(), "filling");
  const double ceiling = ReadCeiling(memory, device.multiProcessorCount);
  std::printf("%s, %d CTAs, read-only ceiling %.3f TB/s\n", device.name, ctas, ceiling);
  std::printf("| lanes | MB kept | parts | us | TB/s | share |\n|---|---|---|---|---|---|\n");
  for (const Row& row : Rows()) {
    const Timing t = TimeRow(row, memory, ctas);
    const double rate = t.bytes / t.microseconds / 1e6;
    std::printf("| %s | %.1f | %d | %.1f | %.3f | %.1f %% |\n", row.name, t.bytes / 1e6, t.parts,
                t.microseconds, rate, 100 * rate / ceiling);
  }
  const double again = ReadCeiling(memory, device.multiProcessorCount);
  std::printf("read-only ceiling at the end %.3f TB/s\n", again);
  return 0;
}

}  // namespace
}  // namespace headlong::cuda

int main() { return headlong::cuda::Main(); }
