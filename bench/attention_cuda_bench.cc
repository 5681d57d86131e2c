// A layer's whole attention on one GPU (rotation, caches, sums, attention): prompts with heads that
// keep everything and with local heads, and a decode step over many sequences. bf16, head_dim 128,
// 8 KV heads of 4 query heads. Counts operations and bytes first, then measures.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "common/status.h"
#include "worker/attention_cuda.h"
#include "worker/kernels/device_array.h"
#include "worker/lane_tables.h"

namespace headlong {
namespace {

constexpr int kHeadDim = 128, kGroup = 4, kHeads = 8;
constexpr int64_t kColumns = int64_t{kHeads} * (kGroup + 2) * kHeadDim;
constexpr int kRepeats = 9;

struct Setup {
  std::string policy;      // of heads that are not full
  std::string full_heads;  // "0,1": heads that keep everything
  int sequences = 1;
  int max_rows = 2048;
  int64_t max_context = 32768;
};

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::exit(1);
}

std::string PlanText(const Setup& setup) {
  const std::string full =
      setup.full_heads.empty()
          ? ""
          : absl::StrCat(R"({"layer":0,"heads":[)", setup.full_heads, R"(],"policy":"full"})");
  return absl::StrCat(R"({"version":1,"layers":1,"kv_heads":8,"policies":{"full":{},"local":)",
                      setup.policy, R"(},"default":"local","heads":[)", full, "]}");
}

class Layer {
 public:
  explicit Layer(const Setup& setup)
      : plan_(OrDie(Plan::FromJson(PlanText(setup), {1, kHeads, ""}, "bench"))),
        out_(int64_t{setup.max_rows} * kHeads * kGroup * kHeadDim) {
    std::vector<LaneId> lanes;
    shape_.heads.resize(1);
    for (int head = 0; head < kHeads; ++head) {
      lanes.push_back({0, head});
      shape_.heads[0].push_back(head);
    }
    classes_ = BuildLaneClasses(plan_, lanes);
    shape_.head_dim = kHeadDim;
    shape_.group = kGroup;
    for (int i = 0; i < kHeadDim / 2; ++i) {
      shape_.inverse_frequencies.push_back(1.0f / static_cast<float>(1 + i));
    }
    shape_.max_context = setup.max_context;
    shape_.max_rows = setup.max_rows;
    CacheShape cache{&plan_, &classes_, {}, setup.sequences, Storage::kBfloat16};
    for (const LaneClass& lane_class : classes_) {
      const LaneRule rule = plan_.rule(lane_class.policy, setup.max_context);
      cache.class_pages.push_back(
          static_cast<int32_t>(setup.sequences * PagesReserved(rule, setup.max_context)));
    }
    tables_ = std::make_unique<LaneTables>(plan_, classes_, cache.class_pages, setup.sequences);
    attention_ = OrDie(AttentionCuda::Create(shape_, cache, nullptr));
    for (int id = 0; id < setup.sequences; ++id) {
      attention_->ResetSums(OrDie(tables_->Start(id, setup.max_context)));
    }
  }

  // Opens a step of one chunk per sequence and makes its lists: milliseconds of the host.
  double Begin(int first_sequence, int sequences, int64_t position, int count) {
    batch_ = {};
    batch_.layer_end = 1;
    for (int id = first_sequence; id < first_sequence + sequences; ++id) {
      Chunk chunk;
      chunk.sequence_id = id;
      chunk.first_row = batch_.rows();
      chunk.count = count;
      chunk.position = position;
      batch_.tokens.resize(batch_.rows() + count);
      batch_.chunks.push_back(chunk);
      if (const absl::Status status = tables_->Advance(chunk, 0); !status.ok()) {
        OrDie<int>(status);
      }
    }
    const auto begin = std::chrono::steady_clock::now();
    attention_->BeginBatch(batch_, *tables_, 0);
    attention_->Prepare();
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
        .count();
  }
  void Run(const float* qkv) { attention_->Run(0, qkv, out_.get()); }
  void Commit() {
    for (const Chunk& chunk : batch_.chunks) tables_->Commit(chunk.sequence_id);
  }

  // Median of the whole layer on the device, in milliseconds.
  double Time(const float* qkv) {
    cudaEvent_t begin, end;
    cuda::CheckCuda(cudaEventCreate(&begin), "event");
    cuda::CheckCuda(cudaEventCreate(&end), "event");
    std::vector<float> times;
    for (int i = 0; i < kRepeats + 2; ++i) {
      cuda::CheckCuda(cudaEventRecord(begin, nullptr), "record");
      Run(qkv);
      cuda::CheckCuda(cudaEventRecord(end, nullptr), "record");
      cuda::CheckCuda(cudaEventSynchronize(end), "attention");
      float ms = 0;
      cuda::CheckCuda(cudaEventElapsedTime(&ms, begin, end), "time");
      if (i >= 2) times.push_back(ms);
    }
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    std::nth_element(times.begin(), times.begin() + kRepeats / 2, times.end());
    return times[kRepeats / 2];
  }

  // Keys that the queries at [begin, end) see, over all heads.
  double VisibleKeys(int64_t begin, int64_t end) const {
    double keys = 0;
    for (const LaneClass& lane_class : classes_) {
      const LaneRule rule = plan_.rule(lane_class.policy, shape_.max_context);
      double lane = 0;
      for (int64_t m = begin; m < end; ++m) {
        lane += static_cast<double>(m + 1 - DroppedTokens(rule, m));
      }
      keys += lane * static_cast<double>(lane_class.lanes.size());
    }
    return keys;
  }

 private:
  Plan plan_;
  std::vector<LaneClass> classes_;
  AttentionShape shape_;
  std::unique_ptr<LaneTables> tables_;
  std::unique_ptr<AttentionCuda> attention_;
  cuda::DeviceArray<float> out_;
  Batch batch_;
};

// Uniform in [-1, 1): zeros would draw less power and flatter the clock.
cuda::DeviceArray<float> RandomRows(int64_t rows) {
  std::vector<float> values(rows * kColumns);
  uint64_t state = 1;
  for (float& x : values) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    x = static_cast<float>(state >> 40) / (1 << 23) - 1;
  }
  return cuda::DeviceArray<float>(values);
}

const char* kLocal256 = R"({"sinks":4,"window_tokens":256})";
const char* kLocal4096 = R"({"sinks":4,"window_tokens":4096})";
const char* kAllHeads = "0,1,2,3,4,5,6,7";

// A prompt of `position` + `count` tokens, of which the last chunk is timed.
void Prompt(const char* name, const Setup& setup, const float* qkv, int64_t position, int count) {
  Layer layer(setup);
  for (int64_t at = 0; at < position; at += setup.max_rows) {
    layer.Begin(0, 1, at, static_cast<int>(std::min<int64_t>(setup.max_rows, position - at)));
    layer.Run(qkv);
    layer.Commit();
  }
  layer.Begin(0, 1, position, count);
  const double flops = 4.0 * kHeadDim * kGroup * layer.VisibleKeys(position, position + count);
  const double ms = layer.Time(qkv);
  std::printf("| %s | %.3f | %.3f | %.1f |\n", name, flops / 1e12, ms, flops / ms / 1e9);
}

void Decode(const char* name, const Setup& setup, const float* qkv) {
  Layer layer(setup);
  const int64_t context = setup.max_context - 64;
  for (int id = 0; id < setup.sequences; ++id) {
    for (int64_t at = 0; at < context; at += setup.max_rows) {
      layer.Begin(id, 1, at, static_cast<int>(std::min<int64_t>(setup.max_rows, context - at)));
      layer.Run(qkv);
      layer.Commit();
    }
  }
  double host_ms = 0;
  for (int step = 0; step < 3; ++step) {  // the last one is warm
    host_ms = layer.Begin(0, setup.sequences, context + step, 1);
    layer.Run(qkv);
    layer.Commit();
  }
  layer.Begin(0, setup.sequences, context + 3, 1);
  const double bytes =
      4.0 * kHeadDim * setup.sequences * layer.VisibleKeys(context + 3, context + 4);
  const double ms = layer.Time(qkv);
  std::printf("| %s | %.1f | %.1f | %.3f | %.0f |\n", name, bytes / 1e6, ms * 1e3, bytes / ms / 1e9,
              host_ms * 1e3);
}

int Main() {
  if (!cuda::HasDevice()) {
    std::printf("no CUDA device: nothing measured\n");
    return 0;
  }
  cudaDeviceProp device;
  cuda::CheckCuda(cudaGetDeviceProperties(&device, 0), "device");
  const cuda::DeviceArray<float> qkv = RandomRows(32768);
  std::printf("%s\n| prompt | TFLOP | ms | TFLOP/s |\n|---|---|---|---|\n", device.name);
  Prompt("8 full heads, 8K", {kLocal256, kAllHeads, 1, 8192, 8192}, qkv.get(), 0, 8192);
  Prompt("8 full heads, 32K", {kLocal256, kAllHeads, 1, 32768, 32768}, qkv.get(), 0, 32768);
  Prompt("8 full heads, 2K behind 30K", {kLocal256, kAllHeads, 1, 2048, 32768}, qkv.get(), 30720,
         2048);
  Prompt("8 local heads of 256, 32K", {kLocal256, "", 1, 32768, 32768}, qkv.get(), 0, 32768);
  Prompt("8 local heads of 4096, 32K", {kLocal4096, "", 1, 32768, 32768}, qkv.get(), 0, 32768);
  Prompt("2 full, 6 local of 256, 32K", {kLocal256, "0,4", 1, 32768, 32768}, qkv.get(), 0, 32768);
  std::printf("| decode step | MB kept | us | TB/s | host us |\n|---|---|---|---|---|\n");
  Decode("64 x 8K, 8 full", {kLocal256, kAllHeads, 64, 4096, 8192}, qkv.get());
  Decode("64 x 8K, 2 full, 6 local of 256", {kLocal256, "0,4", 64, 4096, 8192}, qkv.get());
  Decode("8 x 32K, 2 full, 6 local of 256", {kLocal256, "0,4", 8, 4096, 32768}, qkv.get());
  return 0;
}

}  // namespace
}  // namespace headlong

int main() { return headlong::Main(); }
