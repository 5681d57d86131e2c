#include "tests/worker/cuda/attention_twins.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "common/status.h"
#include "worker/kernels/device_array.h"
#include "worker/kernels/op_cpu.h"

namespace headlong {
namespace {

// The fields of a policy that say how rows are stored; with sinks, which a full head has only where
// it codes.
std::string Storages(const TwinsCase& c, bool full) {
  std::string types;
  if (!c.key_codes.empty()) absl::StrAppend(&types, R"("k":")", c.key_codes, "\"");
  if (!c.value_codes.empty()) {
    absl::StrAppend(&types, types.empty() ? "" : ",", R"("v":")", c.value_codes, "\"");
  }
  if (types.empty()) return "";
  return absl::StrCat(full ? absl::StrCat(R"("sinks":)", c.sinks) : "", R"(,"storage":{)", types,
                      "}");
}

Plan MakePlan(const TwinsCase& c) {
  std::string heads;
  for (int layer = 0; layer < c.layers; ++layer) {
    for (int head = 0; head < c.heads; ++head) {
      const std::vector<int>& full = c.full_heads[layer];
      const bool is_full = std::find(full.begin(), full.end(), head) != full.end();
      if (!is_full && head % 2 == 0) continue;  // the default
      absl::StrAppend(&heads, heads.empty() ? "" : ",", R"({"layer":)", layer, R"(,"heads":[)",
                      head, R"(],"policy":")", is_full ? "full" : "plain", R"("})");
    }
  }
  const std::string text = absl::StrCat(
      R"({"version":1,"layers":)", c.layers, R"(,"kv_heads":)", c.heads, R"(,"block_tokens":)",
      c.block, R"(,"prefill":")", c.exact ? "exact" : "streaming", R"(","policies":{"full":{)",
      Storages(c, true), R"(},"local":{"sinks":)", c.sinks, Storages(c, false),
      R"(,"window_tokens":)", c.window, R"(,"compensation":")", c.compensation ? "mean" : "none",
      R"("},"plain":{"sinks":)", c.sinks, R"(,"window_tokens":)", c.window + 5,
      R"(,"compensation":"none"}},"default":"local","heads":[)", heads, "]}");
  auto plan = Plan::FromJson(text, {c.layers, c.heads, ""}, "test");
  EXPECT_TRUE(plan.ok()) << plan.status() << text;
  if (c.model_window == 0) return *std::move(plan);
  return plan->BoundedBy(std::vector<int64_t>(c.layers, c.model_window));
}

std::vector<LaneId> Lanes(const TwinsCase& c) {
  std::vector<LaneId> lanes;
  for (int layer = 0; layer < c.layers; ++layer) {
    for (int head = 0; head < c.heads; ++head) lanes.push_back({layer, head});
  }
  return lanes;
}

AttentionShape Shape(const TwinsCase& c) {
  AttentionShape shape;
  shape.head_dim = c.head_dim;
  shape.group = c.group;
  shape.heads.resize(c.layers);
  for (std::vector<int>& heads : shape.heads) {
    for (int head = 0; head < c.heads; ++head) heads.push_back(head);
  }
  for (int i = 0; i < c.head_dim / 2; ++i) {
    shape.inverse_frequencies.push_back(
        static_cast<float>(std::pow(10000.0, -2.0 * i / c.head_dim)));
  }
  shape.rope_scale = c.rope_scale;
  if (c.model_window > 0) shape.windows.assign(c.layers, c.model_window);
  shape.max_context = c.max_context;
  shape.max_rows = c.max_rows;
  return shape;
}

// What no kernel wrote is NaN, where the allocator hands the same memory out again.
void PoisonDeviceMemory() {
  cuda::DeviceArray<std::byte> memory(int64_t{256} << 20);
  memory.FillBytes(0xff);
}

void Rotate(const AttentionShape& shape, int heads, std::span<const int32_t> positions,
            std::vector<float>& qkv) {
  const int half = shape.head_dim / 2;
  const int rows = static_cast<int>(positions.size());
  std::vector<float> cos_sin(static_cast<size_t>(rows) * shape.head_dim);
  cpu::RopeTable(positions.data(), rows, shape.inverse_frequencies.data(), half, cos_sin.data());
  for (float& x : cos_sin) x *= shape.rope_scale;
  const int64_t columns = int64_t{heads} * (shape.group + 2) * shape.head_dim;
  cpu::ApplyRope(qkv.data(), columns, rows, heads * (shape.group + 1), half, cos_sin.data());
}

}  // namespace

std::string Describe(const TwinsCase& c) {
  std::ostringstream text;
  text << StorageName(c.storage) << " codes " << c.key_codes << '/' << c.value_codes << " head_dim "
       << c.head_dim << " group " << c.group << " sinks " << c.sinks << " window " << c.window
       << " block " << c.block << (c.compensation ? " mean" : " none")
       << (c.exact ? " exact" : " streaming") << " model window " << c.model_window;
  return text.str();
}

Chunk ChunkAt(uint64_t id, int64_t position, int count, bool exact) {
  Chunk chunk;
  chunk.sequence_id = id;
  chunk.position = position;
  chunk.count = count;
  chunk.exact = exact;
  return chunk;
}

Twins::Twins(const TwinsCase& c)
    : case_(c), plan_(MakePlan(c)), classes_(BuildLaneClasses(plan_, Lanes(c))), shape_(Shape(c)) {
  CacheShape cache;
  cache.plan = &plan_;
  cache.classes = &classes_;
  cache.max_sequences = c.sequences + 1;  // room for a row that is not there
  cache.storage = c.storage;
  for (const LaneClass& lane_class : classes_) {
    const LaneRule rule = plan_.rule(lane_class.policy, c.max_context);
    cache.class_pages.push_back(
        static_cast<int32_t>(c.sequences * PagesReserved(rule, c.max_context)));
  }
  tables_ = std::make_unique<LaneTables>(plan_, classes_, cache.class_pages, c.sequences);
  auto cpu = AttentionCpu::Create(shape_, cache);
  EXPECT_TRUE(cpu.ok()) << cpu.status();
  cpu_ = *std::move(cpu);
  PoisonDeviceMemory();
  auto on_gpu = AttentionCuda::Create(shape_, cache, nullptr);
  EXPECT_TRUE(on_gpu.ok()) << on_gpu.status();
  cuda_ = *std::move(on_gpu);
}

SequenceRows Twins::Rows(std::mt19937_64& random, int64_t positions) const {
  std::normal_distribution<float> normal;
  SequenceRows rows(case_.layers);
  for (std::vector<float>& layer : rows) {
    layer.resize(positions * columns());
    for (float& x : layer) x = normal(random);
  }
  return rows;
}

void Twins::Start(uint64_t id, int64_t prompt_tokens) {
  auto slot = tables_->Start(id, prompt_tokens);
  ASSERT_TRUE(slot.ok()) << slot.status();
  cpu_->ResetSums(*slot);
  cuda_->ResetSums(*slot);
}

void Twins::End(uint64_t id) { ASSERT_TRUE(tables_->End(id).ok()); }

void Twins::Run(std::vector<Chunk> chunks, const std::vector<const SequenceRows*>& rows,
                int unit_layer) {
  Batch batch;
  batch.layer_begin = std::max(unit_layer, 0);
  batch.layer_end = unit_layer < 0 ? case_.layers : unit_layer + 1;
  for (Chunk& chunk : chunks) {
    chunk.first_row = batch.rows();
    batch.tokens.resize(batch.rows() + chunk.count);
    for (int i = 0; i < chunk.count; ++i) {
      batch.positions.push_back(static_cast<int32_t>(chunk.position + i));
    }
    ASSERT_TRUE(tables_->Advance(chunk, batch.layer_begin).ok());
  }
  batch.chunks = chunks;
  cpu_->BeginBatch(batch, *tables_);
  const bool decodes = std::all_of(chunks.begin(), chunks.end(), [](const Chunk& chunk) {
    return chunk.count == 1 && !chunk.exact;
  });
  // Lists as a graph of decode steps wants them hold rows that are not there.
  const int padded = std::min<int>(std::ssize(chunks) + 1, case_.max_rows);
  cuda_->BeginBatch(batch, *tables_, decodes ? padded : 0);
  cuda_->Prepare();
  difference_ = 0;
  out_.assign(chunks.size(), std::vector<std::vector<float>>(case_.layers));
  for (int layer = batch.layer_begin; layer < batch.layer_end; ++layer) {
    std::vector<float> qkv;
    for (size_t i = 0; i < chunks.size(); ++i) {
      const auto begin = (*rows[i])[layer].begin() + chunks[i].position * columns();
      qkv.insert(qkv.end(), begin, begin + int64_t{chunks[i].count} * columns());
    }
    RunLayer(layer, qkv, batch);
  }
  for (const Chunk& chunk : chunks) {
    const bool done = chunk.end() >= tables_->tables(chunk.sequence_id).prompt_tokens &&
                      batch.layer_end == case_.layers;
    if (!chunk.exact || done) tables_->Commit(chunk.sequence_id);
  }
}

void Twins::RunLayer(int layer, const std::vector<float>& qkv, const Batch& batch) {
  std::vector<float> rotated = qkv;
  Rotate(shape_, case_.heads, batch.positions, rotated);
  const size_t outputs = static_cast<size_t>(batch.rows()) * out_columns();
  std::vector<float> expected(outputs);
  cpu_->Run(layer, rotated.data(), expected.data());
  std::vector<float> with_spare_row = qkv;
  with_spare_row.resize(qkv.size() + columns(), 1);
  const cuda::DeviceArray<float> device_qkv(with_spare_row);
  cuda::DeviceArray<float> device_out(static_cast<int64_t>(outputs));
  device_out.FillBytes(0xff);
  cuda_->Run(layer, device_qkv.get(), device_out.get());
  cuda::CheckCuda(cudaDeviceSynchronize(), "attention");
  const std::vector<float> got = device_out.Read();
  float largest = 1;
  for (const float x : expected) largest = std::max(largest, std::abs(x));
  for (size_t i = 0; i < outputs; ++i) {
    const double difference = std::abs(double{got[i]} - expected[i]) / largest;
    difference_ = std::isnan(difference) ? std::numeric_limits<double>::infinity()
                                         : std::max(difference_, difference);
  }
  for (size_t i = 0; i < batch.chunks.size(); ++i) {
    const auto begin = got.begin() + int64_t{batch.chunks[i].first_row} * out_columns();
    out_[i][layer].assign(begin, begin + int64_t{batch.chunks[i].count} * out_columns());
  }
}

std::vector<float> Twins::Rotated(const SequenceRows& rows, int layer) const {
  std::vector<float> rotated = rows[layer];
  std::vector<int32_t> positions(rotated.size() / columns());
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(i);
  Rotate(shape_, case_.heads, positions, rotated);
  return rotated;
}

}  // namespace headlong
