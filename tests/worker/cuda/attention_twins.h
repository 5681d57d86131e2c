// One worker's attention on the CPU and on the GPU over the same plans, tables and numbers: for the
// tests that compare them with each other and with the definition.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "cache/plan.h"
#include "worker/attention_cpu.h"
#include "worker/attention_cuda.h"
#include "worker/lane_tables.h"

namespace headlong {

// Every layer has `heads` KV heads; full_heads[layer] keep everything, odd others are local without
// and even others with what `compensation` says.
struct TwinsCase {
  Storage storage = Storage::kFloat32;
  // Of full heads and of even ones: "int8", ...; empty: the cache's own type.
  std::string key_codes = "", value_codes = "";
  int head_dim = 64;
  int group = 2;
  int heads = 3;
  int layers = 1;
  int sinks = 4;
  int window = 32;
  int block = 16;
  bool compensation = true;
  bool exact = false;
  int64_t model_window = 0;
  std::vector<std::vector<int>> full_heads = {{1}};
  int sequences = 3;
  int max_rows = 256;
  int64_t max_context = 1024;
  float rope_scale = 1;
};

std::string Describe(const TwinsCase& c);

// q, k and v of one sequence in every layer, as the fused product gives them, before rotation:
// [layer][position][columns].
using SequenceRows = std::vector<std::vector<float>>;

class Twins {
 public:
  explicit Twins(const TwinsCase& c);

  SequenceRows Rows(std::mt19937_64& random, int64_t positions) const;
  void Start(uint64_t id, int64_t prompt_tokens);
  void End(uint64_t id);

  // One batch through all layers, or through [layer, layer + 1) of an exact prefill.
  // rows[i] belongs to chunks[i]. Outputs are kept, see Out.
  void Run(std::vector<Chunk> chunks, const std::vector<const SequenceRows*>& rows,
           int unit_layer = -1);

  // The largest |gpu - cpu| of the last Run, over the largest |cpu| or 1. NaN counts as infinite.
  double difference() const { return difference_; }
  // What the GPU gave for chunk i of the last Run: [layer][count][heads * group * head_dim].
  const std::vector<std::vector<float>>& out(size_t i) const { return out_[i]; }

  // What chunks that ask paid attention to since the last call, on the CPU and on the GPU.
  std::pair<std::vector<AttentionSums>, std::vector<AttentionSums>> TakeSums() {
    return {cpu_->TakeSums(), cuda_->TakeSums()};
  }

  // k, v and q of `rows`, rotated, before they are stored. [positions][columns]
  std::vector<float> Rotated(const SequenceRows& rows, int layer) const;
  int columns() const { return case_.heads * (case_.group + 2) * case_.head_dim; }
  int out_columns() const { return case_.heads * case_.group * case_.head_dim; }

 private:
  void RunLayer(int layer, const std::vector<float>& qkv, const Batch& batch);

  const TwinsCase case_;
  Plan plan_;
  std::vector<LaneClass> classes_;
  AttentionShape shape_;
  std::unique_ptr<LaneTables> tables_;
  std::unique_ptr<AttentionCpu> cpu_;
  std::unique_ptr<AttentionCuda> cuda_;
  double difference_ = 0;
  std::vector<std::vector<std::vector<float>>> out_;  // [chunk][layer][...]
};

Chunk ChunkAt(uint64_t id, int64_t position, int count, bool exact = false);

}  // namespace headlong
