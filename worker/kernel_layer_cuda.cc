// Whole layers of attention on a GPU: 8 KV heads of 4 query heads, head_dim 128, bf16 or fp16, with
// heads that keep everything and with local heads; prompts, and decode steps over many sequences.
#include <algorithm>
#include <memory>
#include <numeric>

#include "common/status.h"
#include "worker/attention_cuda.h"
#include "worker/attention_cuda_plan.h"
#include "worker/kernel_cases_cuda.h"
#include "worker/kernels/append_cuda.h"
#include "worker/kernels/bench_cuda.h"
#include "worker/lane_tables.h"

namespace headlong::cuda {
namespace {

constexpr int kHeadDim = 128, kGroup = 4, kHeads = 8;
constexpr int64_t kColumns = int64_t{kHeads} * (kGroup + 2) * kHeadDim;

struct Setup {
  int window = 256;        // of the heads that are not full
  std::string full_heads;  // "0,1": heads that keep everything
  int sequences = 1;
  int max_rows = 2048;
  int64_t max_context = 32768;
  Storage storage = Storage::kBfloat16;
  std::string codes = "";  // of keys and values; empty: plain
};

absl::StatusOr<Plan> PlanOf(const Setup& setup) {
  const std::string full =
      setup.full_heads.empty()
          ? ""
          : absl::StrCat(R"({"layer":0,"heads":[)", setup.full_heads, R"(],"policy":"full"})");
  const std::string stored = setup.codes.empty()
                                 ? ""
                                 : absl::StrCat(R"("sinks":4,"storage":{"k":")", setup.codes,
                                                R"(","v":")", setup.codes, R"("})");
  return Plan::FromJson(
      absl::StrCat(R"({"version":1,"layers":1,"kv_heads":8,"policies":{"full":{)", stored,
                   R"(},"local":{)", stored.empty() ? R"("sinks":4)" : stored,
                   R"(,"window_tokens":)", setup.window, R"(}},"default":"local","heads":[)", full,
                   "]}"),
      {1, kHeads, "", {}}, "bench");
}

class Layer {
 public:
  static absl::StatusOr<std::unique_ptr<Layer>> Create(const Setup& setup, cudaStream_t stream) {
    ASSIGN_OR_RETURN(Plan plan, PlanOf(setup));
    std::unique_ptr<Layer> layer(new Layer(setup, std::move(plan)));
    RETURN_IF_ERROR(layer->Take(stream));
    return layer;
  }

  // Opens a step of one chunk for each of some sequences.
  absl::Status Begin(int first_sequence, int sequences, int64_t position, int count) {
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
      RETURN_IF_ERROR(tables_->Advance(chunk, 0));
    }
    attention_->BeginBatch(batch_, *tables_, 0);
    attention_->Prepare();
    return absl::OkStatus();
  }
  void Run() { attention_->Run(0, qkv_.get(), out_.get()); }
  void Commit() {
    for (const Chunk& chunk : batch_.chunks) tables_->Commit(chunk.sequence_id);
  }

  absl::Status Fill(int sequence, int64_t tokens) {
    for (int64_t at = 0; at < tokens; at += setup_.max_rows) {
      RETURN_IF_ERROR(Begin(sequence, 1, at,
                            static_cast<int>(std::min<int64_t>(setup_.max_rows, tokens - at))));
      Run();
      Commit();
    }
    return absl::OkStatus();
  }

  // Keys that the queries at [begin, end) see, over all heads.
  double VisibleKeys(int64_t begin, int64_t end) const {
    double keys = 0;
    for (const LaneClass& lane_class : classes_) {
      const LaneRule rule = plan_.rule(lane_class.policy, setup_.max_context);
      double lane = 0;
      for (int64_t m = begin; m < end; ++m) {
        lane += static_cast<double>(m + 1 - DroppedTokens(rule, m));
      }
      keys += lane * static_cast<double>(lane_class.lanes.size());
    }
    return keys;
  }

  // Of a head, which are all stored alike.
  double TokenBytes() const {
    const LaneRule rule = plan_.rule(classes_[0].policy, setup_.max_context);
    return static_cast<double>(rule.format(kHeadDim, setup_.storage).token_bytes());
  }

 private:
  Layer(const Setup& setup, Plan plan) : setup_(setup), plan_(std::move(plan)) {}

  absl::Status Take(cudaStream_t stream) {
    std::vector<LaneId> lanes;
    AttentionShape shape;
    shape.heads.resize(1);
    for (int head = 0; head < kHeads; ++head) {
      lanes.push_back({0, head});
      shape.heads[0].push_back(head);
    }
    classes_ = BuildLaneClasses(plan_, lanes);
    shape.head_dim = kHeadDim;
    shape.group = kGroup;
    for (int i = 0; i < kHeadDim / 2; ++i) {
      shape.inverse_frequencies.push_back(1.0f / static_cast<float>(1 + i));
    }
    shape.max_context = setup_.max_context;
    shape.max_rows = setup_.max_rows;
    CacheShape cache{&plan_, &classes_, {}, setup_.sequences, setup_.storage};
    for (const LaneClass& lane_class : classes_) {
      const LaneRule rule = plan_.rule(lane_class.policy, setup_.max_context);
      cache.class_pages.push_back(
          static_cast<int32_t>(setup_.sequences * PagesReserved(rule, setup_.max_context)));
    }
    tables_ = std::make_unique<LaneTables>(plan_, classes_, cache.class_pages, setup_.sequences);
    ASSIGN_OR_RETURN(attention_, AttentionCuda::Create(shape, cache, stream));
    for (int id = 0; id < setup_.sequences; ++id) {
      ASSIGN_OR_RETURN(const int slot, tables_->Start(id, setup_.max_context));
      attention_->ResetSums(slot);
    }
    qkv_ = DeviceArray<float>(setup_.max_rows * kColumns);
    out_ = DeviceArray<float>(int64_t{setup_.max_rows} * kHeads * kGroup * kHeadDim);
    CheckCuda(LaunchFillRandom(reinterpret_cast<std::byte*>(qkv_.get()), 4 * qkv_.size(), stream),
              "filling");
    return absl::OkStatus();
  }

  const Setup setup_;
  const Plan plan_;
  std::vector<LaneClass> classes_;
  std::unique_ptr<LaneTables> tables_;
  std::unique_ptr<AttentionCuda> attention_;
  DeviceArray<float> qkv_, out_;
  Batch batch_;
};

// A prompt of `position` + `count` tokens, of which the last chunk is timed.
struct Prompt {
  const char* name;
  Setup setup;
  int64_t position = 0;
  int count = 0;
};

absl::StatusOr<KernelCase> MakePrompt(const Prompt& prompt, cudaStream_t stream) {
  ASSIGN_OR_RETURN(std::shared_ptr<Layer> layer, Layer::Create(prompt.setup, stream));
  RETURN_IF_ERROR(layer->Fill(0, prompt.position));
  RETURN_IF_ERROR(layer->Begin(0, 1, prompt.position, prompt.count));
  KernelCase one;
  one.flops =
      4.0 * kHeadDim * kGroup * layer->VisibleKeys(prompt.position, prompt.position + prompt.count);
  one.bytes = 4.0 * prompt.count * (kColumns + kHeads * kGroup * kHeadDim);
  one.run = [layer](int) { layer->Run(); };
  return one;
}

absl::StatusOr<KernelCase> MakeStep(const Setup& setup, cudaStream_t stream) {
  ASSIGN_OR_RETURN(std::shared_ptr<Layer> layer, Layer::Create(setup, stream));
  const int64_t context = setup.max_context - 64;
  for (int id = 0; id < setup.sequences; ++id) RETURN_IF_ERROR(layer->Fill(id, context));
  RETURN_IF_ERROR(layer->Begin(0, setup.sequences, context, 1));
  KernelCase one;
  one.bytes = layer->TokenBytes() * setup.sequences * layer->VisibleKeys(context, context + 1);
  one.run = [layer](int) { layer->Run(); };
  return one;
}

// New keys and values of 8 full heads into their pages, and queries to theirs.
absl::StatusOr<KernelCase> MakeAppend(int rows, cudaStream_t stream) {
  struct Arrays {
    DeviceArray<std::byte> pages, q;
    DeviceArray<float> qkv, cos_sin;
    DeviceArray<DeviceClass> classes;
    DeviceArray<HeadPlace> places;
    DeviceArray<ChunkLanes> chunks;
    DeviceArray<int32_t> page_ids, positions, row_chunks;
  };
  constexpr int64_t kHalf = int64_t{kFullPageTokens} * kHeadDim * 2;
  const int pages = (rows + kFullPageTokens - 1) / kFullPageTokens;
  const auto arrays = std::make_shared<Arrays>();
  arrays->pages = DeviceArray<std::byte>(pages * kHeads * 2 * kHalf);
  arrays->q = DeviceArray<std::byte>(int64_t{rows} * kHeads * kGroup * kHeadDim * 2);
  arrays->qkv = DeviceArray<float>(rows * kColumns);
  arrays->cos_sin = DeviceArray<float>(int64_t{rows} * kHeadDim);
  for (auto* floats : {&arrays->qkv, &arrays->cos_sin}) {
    CheckCuda(
        LaunchFillRandom(reinterpret_cast<std::byte*>(floats->get()), 4 * floats->size(), stream),
        "filling");
  }
  std::vector<HeadPlace> places;
  for (int head = 0; head < kHeads; ++head) places.push_back({0, head});
  std::vector<int32_t> page_ids(pages), positions(rows);
  std::iota(page_ids.begin(), page_ids.end(), 0);
  std::iota(positions.begin(), positions.end(), 0);
  ChunkLanes chunk;
  chunk.end = chunk.fresh_begin = rows;
  chunk.full = true;
  DeviceClass lane_class;
  lane_class.pages = arrays->pages.get();
  lane_class.page_stride = kHeads * 2 * kHalf;
  lane_class.lanes = kHeads;
  lane_class.page_shift = 6;
  SetFormat(PlainFormat(Storage::kBfloat16, kHeadDim), kHeadDim, lane_class);
  arrays->classes = DeviceArray<DeviceClass>(std::vector<DeviceClass>{lane_class});
  arrays->places = DeviceArray<HeadPlace>(places);
  arrays->chunks = DeviceArray<ChunkLanes>(std::vector<ChunkLanes>{chunk});
  arrays->page_ids = DeviceArray<int32_t>(page_ids);
  arrays->positions = DeviceArray<int32_t>(positions);
  arrays->row_chunks = DeviceArray<int32_t>(std::vector<int32_t>(rows, 0));
  LayerLanes lanes;
  lanes.shape = {ElementType::kBfloat16, kHeadDim, kGroup};
  lanes.heads = kHeads;
  lanes.class_count = 1;
  lanes.places = arrays->places.get();
  lanes.classes = arrays->classes.get();
  lanes.chunks = arrays->chunks.get();
  lanes.page_ids = arrays->page_ids.get();
  const StoreRows store{arrays->qkv.get(),
                        arrays->cos_sin.get(),
                        arrays->positions.get(),
                        arrays->row_chunks.get(),
                        rows,
                        arrays->q.get()};
  KernelCase one;
  one.bytes = 6.0 * static_cast<double>(rows * kColumns) + 4.0 * rows * kHeadDim;
  one.calls = rows < 1000 ? 32 : 1;
  one.run = [=](int) {
    CheckCuda(LaunchStore(lanes, store, stream), "appending");
    arrays->qkv.get();
  };
  return one;
}

constexpr char kAllHeads[] = "0,1,2,3,4,5,6,7";

}  // namespace

std::vector<KernelCaseMaker> LayerCases(const BenchMemory& memory) {
  constexpr Storage kBfloat16 = Storage::kBfloat16, kFloat16 = Storage::kFloat16;
  const Prompt prompts[] = {
      {"8 full heads, 8K", {256, kAllHeads, 1, 8192, 8192}, 0, 8192},
      {"8 full heads, 16K", {256, kAllHeads, 1, 16384, 16384}, 0, 16384},
      {"8 full heads, 32K", {256, kAllHeads, 1, 32768, 32768}, 0, 32768},
      {"8 full heads, 2K behind 30K", {256, kAllHeads, 1, 2048, 32768}, 30720, 2048},
      {"8 full heads in int8, 2K behind 30K",
       {256, kAllHeads, 1, 2048, 32768, kBfloat16, "int8"},
       30720,
       2048},
      {"8 full heads in int4, 2K behind 30K",
       {256, kAllHeads, 1, 2048, 32768, kBfloat16, "int4"},
       30720,
       2048},
      {"8 local heads of 256, 32K", {256, "", 1, 32768, 32768}, 0, 32768},
      {"8 local heads of 4096, 32K", {4096, "", 1, 32768, 32768}, 0, 32768},
      {"2 full, 6 local of 256, 32K", {256, "0,4", 1, 32768, 32768}, 0, 32768},
      {"8 full heads in fp16, 32K", {256, kAllHeads, 1, 32768, 32768, kFloat16}, 0, 32768},
      {"2 full, 6 local of 256 in fp16, 32K", {256, "0,4", 1, 32768, 32768, kFloat16}, 0, 32768}};
  const std::pair<const char*, Setup> steps[] = {
      {"64 x 8K, 8 full", {256, kAllHeads, 64, 4096, 8192}},
      {"64 x 8K, 2 full, 6 local of 256", {256, "0,4", 64, 4096, 8192}},
      {"8 x 32K, 2 full, 6 local of 256", {256, "0,4", 8, 4096, 32768}},
      {"8 x 32K, 2 full, 6 local of 256 in int8", {256, "0,4", 8, 4096, 32768, kBfloat16, "int8"}}};
  std::vector<KernelCaseMaker> cases;
  for (const int rows : {64, 2048, 32768}) {
    cases.push_back({"rotate and append", absl::StrCat(rows, " rows of 8 x (4 + 2) x 128"),
                     [rows, &memory] { return MakeAppend(rows, memory.stream); }});
  }
  for (const Prompt& prompt : prompts) {
    cases.push_back({"layer's attention, prompt", prompt.name,
                     [prompt, &memory] { return MakePrompt(prompt, memory.stream); }});
  }
  for (const auto& [name, setup] : steps) {
    cases.push_back({"layer's attention, decode", name,
                     [setup = setup, &memory] { return MakeStep(setup, memory.stream); }});
  }
  return cases;
}

}  // namespace headlong::cuda
