#include "worker/attention_memory_cuda.h"

#include <algorithm>
#include <cstdlib>

#include "common/status.h"
#include "worker/attention_cuda_upload.h"

namespace headlong {

// Lays arrays out one after the other. Without memory it only counts the bytes.
class AttentionMemory::Arena {
 public:
  explicit Arena(std::byte* memory) : memory_(memory) {}

  template <typename T>
  T* Take(int64_t count) {
    const int64_t begin = bytes_;
    bytes_ += DeviceAligned(count * int64_t{sizeof(T)});
    return memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + begin);
  }
  int64_t bytes() const { return bytes_; }

 private:
  std::byte* memory_;
  int64_t bytes_ = 0;
};

AttentionMemory::AttentionMemory(const AttentionShape& attention, const CacheShape& cache,
                                 const Kernels& the_kernels)
    : kernels(the_kernels),
      frequencies_(attention.inverse_frequencies),
      stripes_(attention.stripes),
      query_bytes_(int64_t{attention.head_dim} *
                   (kernels.shape.type == cuda::ElementType::kFloat32 ? 4 : 2)),
      max_context_(attention.max_context) {
  places.resize(attention.heads.size());
  for (size_t layer = 0; layer < places.size(); ++layer) {
    places[layer].resize(attention.heads[layer].size());
    max_heads_ = std::max(max_heads_, static_cast<int>(places[layer].size()));
  }
  limits_.rows = attention.max_rows;
  limits_.chunks = std::min(attention.max_rows, cache.max_sequences);
  limits_.block_tokens = cache.plan->block_tokens();
  for (size_t c = 0; c < cache.classes->size(); ++c) {
    const LaneClass& lane_class = (*cache.classes)[c];
    const LaneRule rule = lane_class.rule(*cache.plan, attention.max_context);
    const LaneFormat format = rule.format(attention.head_dim, cache.storage);
    class_shapes_.push_back({cache.class_pages[c], static_cast<int>(lane_class.lanes.size()),
                             rule.page_tokens(), cache.max_sequences, rule.compensates(), format});
    new_token_bytes_ = std::max(new_token_bytes_, format.new_token_bytes());
    if (!rule.full && cache.plan->prefill() == PrefillMode::kExact) {
      limits_.prompt_tokens = attention.max_context;
    }
    for (size_t lane = 0; lane < lane_class.lanes.size(); ++lane) {
      const LaneId id = lane_class.lanes[lane];
      const std::vector<int>& heads = attention.heads[id.layer];
      const auto held = std::lower_bound(heads.begin(), heads.end(), id.head) - heads.begin();
      places[id.layer][held] = {static_cast<int32_t>(c), static_cast<int32_t>(lane)};
    }
  }
  classes.resize(class_shapes_.size());
  device_places.resize(places.size());
  device_parts.resize(stripes_.size());
  layer_shifts.resize(places.size());
  layer_items.resize(places.size());
}

AttentionMemory::~AttentionMemory() { cudaFree(memory_); }

namespace {

// The launch that takes decode rows of lanes in such a format.
int LaunchOf(const LaneFormat& format, const AttentionMemory::Kernels& kernels) {
  const int d = kernels.shape.head_dim;
  const bool plain = format == PlainFormat(format.own, d);
  for (size_t i = 0; i < kernels.decode_shapes.size(); ++i) {
    const cuda::DecodeShape& shape = kernels.decode_shapes[i];
    const bool same = shape.keys == format.keys.type && shape.values == format.values.type;
    if (shape.plain ? plain : !plain && same) return static_cast<int>(i);
  }
  std::abort();  // the shapes were made from the same classes
}

}  // namespace

void AttentionMemory::LayClass(Arena& arena, size_t lane_class) {
  const ClassShape& from = class_shapes_[lane_class];
  DeviceClass& to = classes[lane_class];
  to.lanes = from.lanes;
  to.page_shift = from.page_tokens == kFullPageTokens ? 6 : 4;
  SetFormat(from.format, kernels.shape.head_dim, to);
  to.launch = LaunchOf(from.format, kernels);
  const int d = kernels.shape.head_dim;
  to.widens = kernels.shape.type == cuda::ElementType::kBfloat16 && !to.plain &&
              to.keys.dims == d && to.values.dims == d;
  to.page_stride = from.lanes * to.lane_bytes;
  to.pages = arena.Take<std::byte>(from.pages * to.page_stride);
  const int64_t lanes = int64_t{from.slots} * from.lanes;
  if (from.sums) to.sums = arena.Take<float>(lanes * SumFloats(to));
  if (to.sink_bytes > 0) to.sinks = arena.Take<std::byte>(lanes * to.sink_bytes);
}

void AttentionMemory::LayRows(Arena& arena, int64_t count, cuda::FreshRows& rows) {
  constexpr int64_t kEight = 8;  // rows whose scales fill 16 bytes
  rows.capacity = static_cast<int32_t>((count + kEight - 1) / kEight * kEight);
  rows.head_bytes = rows.capacity * new_token_bytes_;
  rows.memory = arena.Take<std::byte>(max_heads_ * rows.head_bytes);
}

void AttentionMemory::LayWidened(Arena& arena) {
  widened_classes = arena.Take<DeviceClass>(std::ssize(classes));
  if (std::ranges::none_of(classes, [](const DeviceClass& c) { return c.widens; })) return;
  widened_room = WidenedRoom::For(max_context_, max_heads_, kernels.shape.head_dim);
  widened_rows.capacity = static_cast<int32_t>(widened_room.rows);
  widened_rows.head_bytes = widened_room.bytes / std::max(widened_room.heads, 1);
  widened_rows.memory = arena.Take<std::byte>(widened_room.bytes);
}

// Plain lanes, of which the first tokens' rows are the only page of a slot.
std::vector<DeviceClass> AttentionMemory::WidenedClasses() const {
  std::vector<DeviceClass> widened = classes;
  for (DeviceClass& each : widened) {
    each.plain = each.widens;
    each.page_map = nullptr;
    if (!each.widens) continue;
    each.keys = each.values = RowsOf({Storage::kBfloat16, kernels.shape.head_dim});
    each.pages = each.sinks;
    each.lane_bytes = each.sink_bytes;
    each.page_stride = each.lanes * each.sink_bytes;
    each.key_bytes = int64_t{each.sink_tokens} * each.keys.code_bytes;
    each.page_shift = WideningLimits::kSinkPageShift;
    each.sink_tokens = 0;
  }
  return widened;
}

void AttentionMemory::Lay(Arena& arena) {
  const int64_t d = kernels.shape.head_dim, rows = limits_.rows;
  const int64_t query_rows = rows * max_heads_ * kernels.shape.group;
  const int64_t parts =
      int64_t{kernels.shape.group} * MaxDecodeItems(limits_.chunks * max_heads_, kernels.most_ctas);
  bool compensates = false;
  for (size_t c = 0; c < classes.size(); ++c) {
    LayClass(arena, c);
    compensates = compensates || class_shapes_[c].sums;
  }
  device_classes = arena.Take<DeviceClass>(std::ssize(classes));
  copy_maps = arena.Take<cuda::CopyMap>(std::ssize(classes) + 3);
  prefill_work = arena.Take<int32_t>(2);
  for (size_t layer = 0; layer < places.size(); ++layer) {
    const auto heads = static_cast<int>(places[layer].size());
    device_places[layer] = arena.Take<HeadPlace>(heads);
    layer_shifts[layer] = arena.Take<LaneShift>(heads);
    const auto launches = static_cast<int>(kernels.decode_shapes.size());
    layer_items[layer] = arena.Take<DecodeItem>(
        MaxDecodeItems(limits_.chunks * heads, launches * kernels.most_ctas));
  }
  for (size_t layer = 0; layer < stripes_.size(); ++layer) {
    device_parts[layer] = arena.Take<StripePart>(std::ssize(stripes_[layer].own));
  }
  inverse_frequencies = arena.Take<float>(d / 2);
  LayRows(arena, limits_.rows, batch_rows);
  LayRows(arena, limits_.prompt_tokens, prompt_rows);
  LayWidened(arena);
  token_capacity = compensates ? static_cast<int32_t>(MaxTokens(limits_)) : 0;
  tokens = arena.Take<float>(int64_t{max_heads_} * token_capacity * 2 * d);
  cos_sin = arena.Take<float>(rows * d);
  q = arena.Take<std::byte>(query_rows * query_bytes_);
  lse = arena.Take<float>(query_rows);
  part_out = arena.Take<float>(parts * d);
  part_lse = arena.Take<float>(parts);
  upload = arena.Take<std::byte>(upload_bytes());
}

int64_t AttentionMemory::upload_bytes() const {
  const auto lists = [](int64_t count, int64_t bytes) { return DeviceAligned(count * bytes); };
  int64_t pages = 0;
  for (const ClassShape& entry : class_shapes_) pages += entry.pages;
  const int64_t lanes = int64_t{limits_.chunks} * max_heads_;
  const int64_t tiles = limits_.rows / kernels.tile_positions + limits_.chunks;
  const int64_t launch = lists(lanes + kernels.most_ctas, sizeof(DecodeItem)) +
                         lists(kernels.most_ctas + 1, sizeof(int32_t)) +
                         lists(lanes, sizeof(DecodeMerge)) + sizeof(cuda::MovedItems);
  const int64_t layer = std::ssize(kernels.decode_shapes) * launch;
  const int64_t chunk_lanes = limits_.chunks * std::ssize(classes);
  return lists(2 * pages + chunk_lanes, sizeof(int32_t)) +
         4 * lists(limits_.rows, sizeof(int32_t)) + lists(limits_.chunks, sizeof(TokenDraw)) +
         2 * lists(chunk_lanes, sizeof(ChunkLanes)) + lists(limits_.chunks, sizeof(int32_t)) +
         lists(tiles, sizeof(PrefillTile)) + 2 * lists(MaxBlockJobs(limits_), sizeof(BlockJob)) +
         std::ssize(places) * layer + kDeviceAlignment;
}

void AttentionMemory::MapCopies() {
  const auto write = [this](size_t index, const cuda::CopyMap& map) {
    cuda::CheckCuda(cudaMemcpy(copy_maps + index, &map, sizeof(map), cudaMemcpyHostToDevice),
                    "writing");
    return copy_maps + index;
  };
  const int d = kernels.shape.head_dim;
  cuda::CopyMap map;
  for (size_t c = 0; c < classes.size(); ++c) {
    const bool made = cuda::MakePageMap(classes[c], class_shapes_[c].pages, d, map);
    if (made) classes[c].page_map = write(c, map);
  }
  if (kernels.shape.type == cuda::ElementType::kFloat32) return;
  size_t index = classes.size();
  for (cuda::FreshRows* rows : {&batch_rows, &prompt_rows}) {
    if (cuda::MakeRowMap(*rows, max_heads_, d, map)) rows->map = write(index, map);
    ++index;
  }
  if (widened_room.heads > 0 && cuda::MakeRowMap(widened_rows, widened_room.heads, d, map)) {
    widened_rows.map = write(index, map);
  }
}

absl::Status AttentionMemory::Take() {
  Arena count(nullptr);
  Lay(count);
  size_t free = 0, total = 0;
  cuda::CheckCuda(cudaMemGetInfo(&free, &total), "asking for free memory");
  void* taken = nullptr;
  if (cudaMalloc(&taken, count.bytes()) != cudaSuccess) {
    cudaGetLastError();  // it is told here, and by no later call
    return absl::ResourceExhaustedError(
        absl::StrCat("caches and scratch of attention: ", count.bytes(),
                     " bytes of GPU memory asked for, ", free, " free"));
  }
  memory_ = static_cast<std::byte*>(taken);
  bytes_ = count.bytes();
  Arena arena(memory_);
  Lay(arena);
  const auto write = [](void* to, const auto& values) {
    const int64_t bytes = static_cast<int64_t>(values.size() * sizeof(values[0]));
    cuda::CheckCuda(cudaMemcpy(to, values.data(), bytes, cudaMemcpyHostToDevice), "writing");
  };
  MapCopies();
  write(device_classes, classes);
  write(widened_classes, WidenedClasses());
  cuda::CheckCuda(cudaMemset(prefill_work, 0, 2 * sizeof(int32_t)), "zeroing");
  for (size_t layer = 0; layer < places.size(); ++layer) write(device_places[layer], places[layer]);
  for (size_t layer = 0; layer < stripes_.size(); ++layer) {
    write(device_parts[layer], stripes_[layer].own);
  }
  write(inverse_frequencies, frequencies_);
  cuda::CheckCuda(cudaStreamSynchronize(nullptr), "writing");  // for all streams
  return absl::OkStatus();
}

void AttentionMemory::ResetSums(int slot, cudaStream_t stream) {
  for (const DeviceClass& lanes : classes) {
    if (lanes.sums == nullptr) continue;
    const int64_t floats = lanes.lanes * SumFloats(lanes);
    cuda::CheckCuda(cudaMemsetAsync(lanes.sums + slot * floats, 0, floats * sizeof(float), stream),
                    "zeroing sums");
  }
}

void AttentionMemory::CopyLane(const LaneCopy& copy, CopyWay way, cudaStream_t stream) {
  const DeviceClass& lanes = classes[copy.place.lane_class];
  const bool to_host = way == CopyWay::kToHost;
  const cudaMemcpyKind kind = to_host ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice;
  const auto count = static_cast<int64_t>(copy.pages.size());
  for (int64_t begin = 0, end = 0; begin < count; begin = end) {
    // Pages that stand side by side in both places are one copy.
    for (end = begin + 1; end < count && copy.pages[end] == copy.pages[end - 1] + 1;) ++end;
    const int64_t bytes = lanes.lane_bytes, pitch = lanes.page_stride;
    std::byte* cached = lanes.pages + copy.pages[begin] * pitch + copy.place.lane * bytes;
    std::byte* host = copy.host_pages + begin * bytes;
    cuda::CheckCuda(
        cudaMemcpy2DAsync(to_host ? host : cached, to_host ? bytes : pitch, to_host ? cached : host,
                          to_host ? pitch : bytes, bytes, end - begin, kind, stream),
        "copying pages");
  }
  const auto move = [&](void* cached, void* host, int64_t bytes) {
    cuda::CheckCuda(
        cudaMemcpyAsync(to_host ? host : cached, to_host ? cached : host, bytes, kind, stream),
        "copying what is beside the pages");
  };
  const int64_t lane = int64_t{copy.slot} * lanes.lanes + copy.place.lane;
  if (copy.host_sums != nullptr) {
    const int64_t floats = SumFloats(lanes);
    move(lanes.sums + lane * floats, copy.host_sums, floats * int64_t{sizeof(float)});
  }
  if (copy.host_sinks != nullptr) {
    move(lanes.sinks + lane * lanes.sink_bytes, copy.host_sinks, lanes.sink_bytes);
  }
}

void AttentionMemory::WriteShifts(int layer, std::span<const LaneShift> shifts) {
  cuda::CheckCuda(
      cudaMemcpy(layer_shifts[layer], shifts.data(), shifts.size_bytes(), cudaMemcpyHostToDevice),
      "writing");
  cuda::CheckCuda(cudaStreamSynchronize(nullptr), "writing");  // for all streams
}

}  // namespace headlong
