// Prefill: vectors run along rows. q and out are transposed per panel of at most two vectors of
// rows; keys and values enter as broadcasts, so that nothing is packed and neither softmax nor
// masks need a horizontal step. 4 rows head_dim flops per key, bound by FMA.

#include "worker/kernels/key_block.h"
#include "worker/kernels/tile_rows.h"
#include "worker/kernels/vector_math.h"

namespace headlong::cpu::HEADLONG_ISA {
namespace {

// V vectors of rows. q: [key_dims][V * kLanes], out: [value_dims][V * kLanes]; scores: [keys][V *
// kLanes].
struct Panel {
  int rows;  // real ones; the others repeat the last row's position and have q = 0
  float* q;
  float* out;
  float* max;
  float* sum;
  int32_t* row_offset;
  float* slope;
};

// Keys and values of a block in fp32.
struct FloatBlock {
  const float*
      key[kBlockKeys + 16];  // the last one is repeated to a multiple of what is scored at once
  const float* value[kBlockKeys];
};

// How many keys, and how many elements of values, go against V vectors of rows at once: as many
// sums as registers allow beside the operands, and no fewer than the 8 that keep two FMA units
// busy.
template <int V>
inline constexpr int kKeysAtOnce = kRegisters == 32 ? (V == 2 ? 12 : 16) : (V == 2 ? 6 : 8);
template <int V>
inline constexpr int kElementsAtOnce = kRegisters == 32 ? 8 : (V == 2 ? 6 : 8);

template <int V>
void ScorePanel(const float* const* key, const float* q, int key_dims, float* scores) {
  constexpr int K = kKeysAtOnce<V>;
  const float* k[K];
#pragma GCC unroll 16
  for (int n = 0; n < K; ++n) k[n] = key[n];
  Float<kLanes> sums[K][V] = {};
  for (int i = 0; i < key_dims; ++i) {
    Float<kLanes> rows[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) rows[v] = Load<kLanes>(q + (i * V + v) * kLanes);
#pragma GCC unroll 16
    for (int n = 0; n < K; ++n) {
      const Float<kLanes> element = Splat<kLanes>(k[n][i]);
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sums[n][v] += element * rows[v];
    }
  }
#pragma GCC unroll 16
  for (int n = 0; n < K; ++n) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) Store<kLanes>(scores + (n * V + v) * kLanes, sums[n][v]);
  }
}

// out[i..i + I) = out * shrink + sum over keys of value * weight.
template <int V, int I>
void AddPanelValues(const FloatBlock& block, int count, int i, const Float<kLanes>* shrink,
                    const float* weights, float* out) {
  Float<kLanes> sums[I][V];
#pragma GCC unroll 16
  for (int n = 0; n < I; ++n) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      sums[n][v] = Load<kLanes>(out + ((i + n) * V + v) * kLanes) * shrink[v];
    }
  }
  for (int j = 0; j < count; ++j) {
    const float* value = block.value[j] + i;
    Float<kLanes> weight[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) weight[v] = Load<kLanes>(weights + (j * V + v) * kLanes);
#pragma GCC unroll 16
    for (int n = 0; n < I; ++n) {
      const Float<kLanes> element = Splat<kLanes>(value[n]);
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sums[n][v] += element * weight[v];
    }
  }
#pragma GCC unroll 16
  for (int n = 0; n < I; ++n) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) Store<kLanes>(out + ((i + n) * V + v) * kLanes, sums[n][v]);
  }
}

// The bias of ALiBi: nothing for a row's own position, less by its slope for each one before. Not
// inline: models without it keep their registers.
template <int V>
[[gnu::noinline]] void AddDistances(const KeyBlock& block, int count, const Panel& panel,
                                    float* scores) {
  for (int v = 0; v < V; ++v) {
    const Float<kLanes> slope = Load<kLanes>(panel.slope + v * kLanes);
    const Int<kLanes> row = LoadInt<kLanes>(panel.row_offset + v * kLanes);
    for (int j = 0; j < count; ++j) {
      float* score = scores + (j * V + v) * kLanes;
      const auto before = __builtin_convertvector(block.offset[j] - row, Float<kLanes>);
      Store<kLanes>(score, Load<kLanes>(score) + slope * before);
    }
  }
}

template <int V>
void HideKeys(const KeyBlock& block, int count, const int32_t* row_offset, float* scores) {
  const Float<kLanes> hidden = Splat<kLanes>(-kInfinity);
  const int32_t last_row = row_offset[V * kLanes - 1];
  for (int j = 0; j < count; ++j) {
    const int32_t gone = block.offset[j] + block.window;  // the first row that does not see it
    if (block.offset[j] <= 0 && gone > last_row) continue;
    for (int v = 0; v < V; ++v) {
      float* score = scores + (j * V + v) * kLanes;
      const Int<kLanes> row = LoadInt<kLanes>(row_offset + v * kLanes);
      const Int<kLanes> seen = (row >= block.offset[j]) & (row < gone);
      Store<kLanes>(score, seen ? Load<kLanes>(score) : hidden);
    }
  }
}

// Scores to weights; shrink[v]: what earlier sums and outputs are multiplied by.
template <int V>
void SoftmaxPanel(int count, const Panel& panel, float* scores, Float<kLanes>* shrink) {
  Float<kLanes> max[V], shift[V], sum[V];
  for (int v = 0; v < V; ++v) max[v] = Load<kLanes>(panel.max + v * kLanes);
  for (int j = 0; j < count; ++j) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) max[v] = Max(max[v], Load<kLanes>(scores + (j * V + v) * kLanes));
  }
  for (int v = 0; v < V; ++v) {
    shift[v] = ExponentShift<kLanes>(max[v]);
    shrink[v] = Exp<kLanes>(Load<kLanes>(panel.max + v * kLanes) - shift[v]);
    sum[v] = Load<kLanes>(panel.sum + v * kLanes) * shrink[v];
  }
  for (int j = 0; j < count; ++j) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      float* score = scores + (j * V + v) * kLanes;
      const Float<kLanes> weight = Exp<kLanes>(Load<kLanes>(score) - shift[v]);
      Store<kLanes>(score, weight);
      sum[v] += weight;
    }
  }
  for (int v = 0; v < V; ++v) {
    Store<kLanes>(panel.max + v * kLanes, max[v]);
    Store<kLanes>(panel.sum + v * kLanes, sum[v]);
  }
}

template <int V>
void AttendPanel(const AttentionTile& tile, const KeyBlock& block, const FloatBlock& floats,
                 const Panel& panel, float* scores) {
  int count = block.count;
  const int32_t last = panel.row_offset[panel.rows - 1];
  while (count > 0 && block.offset[count - 1] > last) --count;  // no row here sees them
  if (count == 0) return;
  for (int j = 0; j < count; j += kKeysAtOnce<V>) {
    ScorePanel<V>(floats.key + j, panel.q, tile.key_dims, scores + j * V * kLanes);
  }
  if (tile.slopes != nullptr) AddDistances<V>(block, count, panel, scores);
  if (block.masked) HideKeys<V>(block, count, panel.row_offset, scores);
  Float<kLanes> shrink[V];
  SoftmaxPanel<V>(count, panel, scores, shrink);
  const int dims = tile.value_dims;
  int i = 0;
  for (; i + kElementsAtOnce<V> <= dims; i += kElementsAtOnce<V>) {
    AddPanelValues<V, kElementsAtOnce<V>>(floats, count, i, shrink, scores, panel.out);
  }
  for (; i + 4 <= dims; i += 4) {
    AddPanelValues<V, 4>(floats, count, i, shrink, scores, panel.out);
  }
  for (; i < dims; i += 2) {
    AddPanelValues<V, 2>(floats, count, i, shrink, scores, panel.out);
  }
}

template <int V>
void StartPanel(const AttentionTile& tile, int first_row, const Panel& panel) {
  constexpr int kRows = V * kLanes;
  const CompensationToken& token = tile.compensation;
  for (int r = 0; r < kRows; ++r) {
    const int row = first_row + (r < panel.rows ? r : panel.rows - 1);
    const float* q = QueryRow(tile, row);
    const float scale = r < panel.rows ? tile.scale : 0;
    panel.row_offset[r] = row / tile.group;
    if (tile.slopes != nullptr) panel.slope[r] = tile.slopes[row % tile.group];
    for (int i = 0; i < tile.key_dims; ++i) panel.q[i * kRows + r] = q[i] * scale;
  }
  for (int v = 0; v < V; ++v) {
    Float<kLanes> max = Splat<kLanes>(-kInfinity), sum = {};
    if (token.key != nullptr) {
      Float<kLanes> score = {};
      for (int i = 0; i < tile.key_dims; ++i) {
        score += Load<kLanes>(panel.q + (i * V + v) * kLanes) * token.key[i];
      }
      max = score + token.log_count;
      sum = Splat<kLanes>(1);
    }
    Store<kLanes>(panel.max + v * kLanes, max);
    Store<kLanes>(panel.sum + v * kLanes, sum);
    for (int i = 0; i < tile.value_dims; ++i) {
      const float start = token.key != nullptr ? token.value[i] : 0;
      Store<kLanes>(panel.out + (i * V + v) * kLanes, Splat<kLanes>(start));
    }
  }
}

template <int V>
void FinishPanel(const AttentionTile& tile, int first_row, const Panel& panel) {
  constexpr int kRows = V * kLanes;
  for (int r = 0; r < panel.rows; ++r) {
    const float inverse = panel.sum[r] == 0 ? 0.0f : 1.0f / panel.sum[r];
    float* out = OutRow(tile, first_row + r);
    for (int i = 0; i < tile.value_dims; ++i) out[i] = panel.out[i * kRows + r] * inverse;
    FillRest(tile, out);
  }
}

// The rows of a block in fp32, [count][dims].
template <typename RowType>
void WidenRows(const Bytes* rows, const uint16_t* const* scales, int count, int dims,
               float* scratch) {
  constexpr int W = kLanes < 8 ? kLanes : 8;  // divides every row
  for (int j = 0; j < count; ++j) {
    Float<W> scale = Splat<W>(1);
    if constexpr (RowType::kRowScale) scale = Splat<W>(WidenScale(*scales[j]));
    for (int i = 0; i < dims; i += W) {
      Store<W>(scratch + j * dims + i, RowType::template Load<W>(rows[j], scales[j], i, 0) * scale);
    }
  }
}

void Widen(Storage type, const Bytes* rows, const uint16_t* const* scales, int count, int dims,
           float* scratch) {
  switch (type) {
    case Storage::kFloat32:
      return;
    case Storage::kBfloat16:
      return WidenRows<Bfloat16Row>(rows, scales, count, dims, scratch);
    case Storage::kFloat16:
      return WidenRows<Float16Row>(rows, scales, count, dims, scratch);
    case Storage::kFloat8:
      return WidenRows<Float8Row>(rows, scales, count, dims, scratch);
    case Storage::kInt8:
      return WidenRows<Int8Row>(rows, scales, count, dims, scratch);
    case Storage::kInt4:
      return WidenRows<Int4Row>(rows, scales, count, dims, scratch);
  }
}

const float* WhereItIs(Storage type, Bytes row, const float* widened) {
  return type == Storage::kFloat32 ? reinterpret_cast<const float*>(row) : widened;
}

// Keys and values in fp32 are used where they lie, others are widened into the scratch.
void WidenBlock(const AttentionTile& tile, const KeyBlock& block, TileScratch& scratch,
                FloatBlock& floats) {
  const int key_dims = tile.key_dims, value_dims = tile.value_dims;
  Widen(block.key_type, block.key, block.key_scales, block.count, key_dims, scratch.keys);
  Widen(block.value_type, block.value, block.value_scales, block.count, value_dims, scratch.values);
  for (int j = 0; j < block.count; ++j) {
    floats.key[j] = WhereItIs(block.key_type, block.key[j], scratch.keys + j * key_dims);
    floats.value[j] = WhereItIs(block.value_type, block.value[j], scratch.values + j * value_dims);
  }
  for (int j = block.count; j < block.count + 16; ++j) floats.key[j] = floats.key[block.count - 1];
}

}  // namespace

void AttendPanels(const AttentionTile& tile, TileScratch& scratch) {
  constexpr int kMostPanels = kMaxTileRows / kLanes;
  Panel panels[kMostPanels];
  int vectors[kMostPanels];
  int count = 0;
  for (int row = 0; row < tile.rows; ++count) {
    const int left = tile.rows - row;
    const int v = left > kLanes ? 2 : 1;
    Panel& panel = panels[count];
    panel = {.rows = left < v * kLanes ? left : v * kLanes,
             .q = scratch.q + row * tile.head_dim,
             .out = scratch.out + row * tile.head_dim,
             .max = scratch.max + row,
             .sum = scratch.sum + row,
             .row_offset = scratch.row_offset + row,
             .slope = scratch.slope + row};
    vectors[count] = v;
    v == 2 ? StartPanel<2>(tile, row, panel) : StartPanel<1>(tile, row, panel);
    row += v * kLanes;
  }
  KeyReader reader(tile, kBlockKeys);
  FloatBlock floats;
  KeyBlock& block = scratch.blocks[0];
  while (reader.Read(block)) {
    WidenBlock(tile, block, scratch, floats);
    for (int p = 0; p < count; ++p) {
      if (vectors[p] == 2) {
        AttendPanel<2>(tile, block, floats, panels[p], scratch.scores);
      } else {
        AttendPanel<1>(tile, block, floats, panels[p], scratch.scores);
      }
    }
  }
  for (int p = 0, row = 0; p < count; row += vectors[p] * kLanes, ++p) {
    vectors[p] == 2 ? FinishPanel<2>(tile, row, panels[p]) : FinishPanel<1>(tile, row, panels[p]);
  }
  StoreLse(tile, scratch);
}

}  // namespace headlong::cpu::HEADLONG_ISA
