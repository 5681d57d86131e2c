// Two ways through a block of keys, by the number of rows:
//   few rows (decode): vectors run along head_dim; K and V stream once, 4 keys at a time.
//     Reads 2 head_dim elements per key; bound by memory up to about 4 rows.
//   panels (prefill): vectors run along rows; q and out are transposed per panel of at most two
//     vectors of rows, keys and values enter as broadcasts, so that nothing is packed and neither
//     softmax nor masks need a horizontal step. 4 rows head_dim flops per key; bound by FMA.
// Scores of a block, its softmax and its values follow each other while the block is in the cache.

#include "worker/kernels/attention_tile.h"

#include "worker/kernels/vector.h"

namespace headlong::cpu::HEADLONG_ISA {
namespace {

using Bytes = const std::byte*;

// Up to kBlockKeys keys that at least the last row sees.
struct KeyBlock {
  int count = 0;
  bool masked = false;         // a row does not see all of them
  int32_t offset[kBlockKeys];  // position less the tile's first, at least -1
  Bytes key[kBlockKeys];
  Bytes value[kBlockKeys];
};

// Walks through the runs of a tile, leaving out what its last row does not see.
class KeyReader {
 public:
  KeyReader(const AttentionTile& tile, int block_keys)
      : run_(tile.runs.data()),
        end_(run_ + tile.runs.size()),
        first_position_(tile.first_position),
        last_position_(tile.first_position + (tile.rows - 1) / tile.group),
        row_bytes_(int64_t{tile.head_dim} * ElementBytes(tile.storage)),
        block_keys_(block_keys) {}

  // False when no key is left.
  bool Read(KeyBlock& block) {
    block.count = 0;
    block.masked = false;
    while (block.count < block_keys_ && run_ != end_) {
      const int64_t seen = last_position_ + 1 - run_->position;
      const int64_t count = run_->count < seen ? run_->count : seen;
      if (done_ >= count) {
        done_ = 0;
        ++run_;
        continue;
      }
      const int64_t room = block_keys_ - block.count;
      Append(count - done_ < room ? count - done_ : room, block);
    }
    return block.count > 0;
  }

 private:
  void Append(int64_t count, KeyBlock& block) {
    const int64_t begin = run_->position + done_ - first_position_;
    Bytes key = run_->keys + done_ * row_bytes_;
    Bytes value = run_->values + done_ * row_bytes_;
    for (int64_t i = 0; i < count; ++i) {
      block.offset[block.count] = static_cast<int32_t>(begin + i < -1 ? -1 : begin + i);
      block.key[block.count] = key + i * row_bytes_;
      block.value[block.count] = value + i * row_bytes_;
      ++block.count;
    }
    block.masked |= begin + count - 1 > 0;
    done_ += count;
  }

  const AttentionRun* run_;
  const AttentionRun* const end_;
  const int64_t first_position_;
  const int64_t last_position_;
  const int64_t row_bytes_;
  const int block_keys_;
  int64_t done_ = 0;  // keys of *run_ already read
};

const float* QueryRow(const AttentionTile& tile, int row) {
  return tile.q + row / tile.group * tile.q_stride + int64_t{row % tile.group} * tile.head_dim;
}

float* OutRow(const AttentionTile& tile, int row) {
  return tile.out + row / tile.group * tile.out_stride + int64_t{row % tile.group} * tile.head_dim;
}

// What a row's exponents are taken relative to. A row that has seen nothing has max = -inf; 0 then
// keeps exp(-inf - max) at 0 rather than NaN.
template <int W>
Float<W> ExponentShift(Float<W> max) {
  return max == -kInfinity ? Float<W>{} : max;
}

void StoreLse(const AttentionTile& tile, const TileScratch& scratch) {
  if (tile.lse == nullptr) return;
  for (int r = 0; r < tile.rows; ++r) {
    tile.lse[r] =
        scratch.sum[r] == 0 ? -kInfinity : scratch.max[r] + __builtin_logf(scratch.sum[r]);
  }
}

// ---- few rows: lanes along head_dim ---------------------------------------------------------

inline constexpr int kScoreStride =
    kBlockKeys + 32;  // floats from a row's scores to the next row's
static_assert(kFewRows <= kMaxPanelRows);

inline constexpr int kFewRowsBlock = 32;  // its keys, values and what is being fetched fit in L1

// How many vectors a load makes. fp32: one. bf16: the even and the odd elements of 2 W; queries and
// sums are kept in that order too.
template <typename Element>
inline constexpr int kParts = sizeof(float) / sizeof(Element);

// Calls f.operator()<R>(row) for groups of R rows that together are all rows.
template <typename F>
void ForRowGroups(int rows, const F& f) {
  for (int row = 0; row < rows;) {
    const int left = rows - row;
    if (left >= 4) {
      f.template operator()<4>(row);
      row += 4;
    } else if (left == 3) {
      f.template operator()<3>(row);
      row += 3;
    } else if (left == 2) {
      f.template operator()<2>(row);
      row += 2;
    } else {
      f.template operator()<1>(row);
      row += 1;
    }
  }
}

// Asks for the rows of a block ahead of their use, a few lines at a time and in the order of their
// addresses: the processor's own prefetcher follows that and keeps more reads in flight than ours.
class Fetcher {
 public:
  Fetcher(const Bytes* rows, int count, int64_t row_bytes)
      : row_(rows), end_(rows + count), row_bytes_(row_bytes) {}

  void Fetch(int64_t bytes) {
    for (; bytes > 0 && row_ != end_; bytes -= kLine) {
      __builtin_prefetch(*row_ + at_);
      at_ += kLine;
      if (at_ >= row_bytes_) {
        at_ = 0;
        ++row_;
      }
    }
  }

 private:
  static constexpr int64_t kLine = 64;
  const Bytes* row_;
  const Bytes* const end_;
  const int64_t row_bytes_;
  int64_t at_ = 0;
};

// Scores of keys [j, j + K) for R rows: R K sums in registers.
template <int W, typename Element, int R, int K>
void ScoreKeys(const KeyBlock& block, int j, const float* q, int head_dim, float* scores) {
  const Element* key[K];
  for (int k = 0; k < K; ++k) {
    const int at = j + k < block.count ? j + k : block.count - 1;  // repeats the last; not used
    key[k] = reinterpret_cast<const Element*>(block.key[at]);
  }
  Float<W> sums[R * K] = {};
  for (int i = 0; i < head_dim; i += kParts<Element> * W) {
#pragma GCC unroll 2
    for (int part = 0; part < kParts<Element>; ++part) {
      Float<W> k[K];
#pragma GCC unroll 4
      for (int n = 0; n < K; ++n) k[n] = LoadPart<W>(key[n] + i, part);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const Float<W> v = Load<W>(q + r * head_dim + i + part * W);
#pragma GCC unroll 4
        for (int n = 0; n < K; ++n) sums[r * K + n] += v * k[n];
      }
    }
  }
#pragma GCC unroll 4
  for (int s = 0; s < R * K; s += 4) {
    const Float<4> sum = Sum4<W>(sums[s], sums[s + 1], sums[s + 2], sums[s + 3]);
    for (int n = 0; n < 4; n += K) {  // K scores of each row
      __builtin_memcpy(scores + (s + n) / K * kScoreStride + j,
                       reinterpret_cast<const float*>(&sum) + n, K * sizeof(float));
    }
  }
}

// Scores of a block for all rows; fetches its values meanwhile.
template <int W, typename Element>
void ScoreBlock(const AttentionTile& tile, const KeyBlock& block, TileScratch& scratch) {
  const int d = tile.head_dim;
  Fetcher values(block.value, block.count, d * sizeof(Element));
  for (int j = 0; j < block.count; j += 4) {
    values.Fetch(4 * d * sizeof(Element));
    ForRowGroups(tile.rows, [&]<int R>(int row) {
      constexpr int K = R == 4 && kRegisters == 16 ? 2 : 4;
      float* scores = scratch.scores + row * kScoreStride;
      for (int k = j; k < j + 4; k += K) {
        ScoreKeys<W, Element, R, K>(block, k, scratch.q + row * d, d, scores);
      }
    });
  }
}

// out[r][i..] += sum over keys of weight * value, for R rows and D vectors from i on. Lets `ahead`
// fetch as much as is read here.
template <int W, typename Element, int R, int D>
void AddValues(const KeyBlock& block, int i, int head_dim, const float* weights, float* out,
               Fetcher* ahead) {
  Float<W> sums[R][D];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int d = 0; d < D; ++d) sums[r][d] = Load<W>(out + r * head_dim + i + d * W);
  }
  for (int j = 0; j < block.count; ++j) {
    const Element* value = reinterpret_cast<const Element*>(block.value[j]) + i;
    if (ahead != nullptr) ahead->Fetch(D * W * sizeof(Element));
    Float<W> v[D];
#pragma GCC unroll 4
    for (int d = 0; d < D; ++d) {
      constexpr int kGroup = kParts<Element> * W;
      v[d] = LoadPart<W>(value + d * W / kGroup * kGroup, d % kParts<Element>);
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const Float<W> weight = Splat<W>(weights[r * kScoreStride + j]);
#pragma GCC unroll 4
      for (int d = 0; d < D; ++d) sums[r][d] += weight * v[d];
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int d = 0; d < D; ++d) Store<W>(out + r * head_dim + i + d * W, sums[r][d]);
  }
}

// Adds the block's values to all rows, as many vectors at a time as the sums of the largest group
// of rows leave registers for.
template <int W, typename Element>
void AddBlock(const AttentionTile& tile, const KeyBlock& block, const KeyBlock& next,
              TileScratch& scratch) {
  Fetcher keys(next.key, next.count, tile.head_dim * sizeof(Element));
  const auto add = [&]<int D>(int i) {
    ForRowGroups(tile.rows, [&]<int R>(int row) {
      AddValues<W, Element, R, D>(block, i, tile.head_dim, scratch.scores + row * kScoreStride,
                                  scratch.out + row * tile.head_dim, row == 0 ? &keys : nullptr);
    });
  };
  int i = 0;
  if (kRegisters == 32 || tile.rows < 3) {
    for (; i + 4 * W <= tile.head_dim; i += 4 * W) add.template operator()<4>(i);
  }
  for (; i + 2 * W <= tile.head_dim; i += 2 * W) add.template operator()<2>(i);
  if constexpr (kParts<Element> == 1) {
    for (; i < tile.head_dim; i += W) add.template operator()<1>(i);
  }
}

// Turns a row's scores into weights relative to its new maximum; returns what its earlier sum and
// output shrink by. Scores past block.count are written over.
float SoftmaxRow(const KeyBlock& block, int32_t row_offset, float* scores, float& row_max,
                 float& row_sum) {
  constexpr int W = kLanes;
  int padded = block.count;
  for (; padded % W != 0; ++padded) scores[padded] = -kInfinity;
  if (block.masked) {
    for (int j = 0; j < block.count; ++j) {
      if (block.offset[j] > row_offset) scores[j] = -kInfinity;
    }
  }
  Float<W> max = Splat<W>(row_max);
  for (int j = 0; j < padded; j += W) max = Max(max, Load<W>(scores + j));
  const float new_max = HorizontalMax<W>(max);
  const Float<W> shift = ExponentShift<W>(Splat<W>(new_max));
  const float shrink = Exp<W>(Splat<W>(row_max) - shift)[0];
  Float<W> sum = {};
  for (int j = 0; j < padded; j += W) {
    const Float<W> weight = Exp<W>(Load<W>(scores + j) - shift);
    Store<W>(scores + j, weight);
    sum += weight;
  }
  row_sum = row_sum * shrink + HorizontalSum<W>(sum);
  row_max = new_max;
  return shrink;
}

template <int W, typename Element>
void StartFewRows(const AttentionTile& tile, TileScratch& scratch) {
  const int d = tile.head_dim;
  const CompensationToken& token = tile.compensation;
  for (int r = 0; r < tile.rows; ++r) {
    const float* q = QueryRow(tile, r);
    float* scaled = scratch.q + r * d;
    float* out = scratch.out + r * d;
    for (int i = 0; i < d; i += W) Store<W>(scaled + i, Load<W>(q + i) * tile.scale);
    scratch.max[r] = -kInfinity;
    scratch.sum[r] = 0;
    for (int i = 0; i < d; i += W) {
      Store<W>(out + i, token.key != nullptr ? Load<W>(token.value + i) : Float<W>{});
    }
    if (token.key != nullptr) {
      Float<W> score = {};
      for (int i = 0; i < d; i += W) score += Load<W>(scaled + i) * Load<W>(token.key + i);
      scratch.max[r] = HorizontalSum<W>(score) + token.log_count;
      scratch.sum[r] = 1;
    }
    if constexpr (kParts<Element> == 2) {
      SplitPairs<W>(scaled, d);
      SplitPairs<W>(out, d);
    }
  }
}

template <int W>
void Scale(float* x, int n, float factor) {
  for (int i = 0; i < n; i += W) Store<W>(x + i, Load<W>(x + i) * factor);
}

template <int W, typename Element>
void AttendFewRows(const AttentionTile& tile, TileScratch& scratch) {
  StartFewRows<W, Element>(tile, scratch);
  KeyReader reader(tile, kFewRowsBlock);
  KeyBlock blocks[2];
  reader.Read(blocks[0]);
  for (int turn = 0; blocks[turn].count > 0; turn = 1 - turn) {
    const KeyBlock& block = blocks[turn];
    KeyBlock& next = blocks[1 - turn];
    reader.Read(next);
    ScoreBlock<W, Element>(tile, block, scratch);
    for (int r = 0; r < tile.rows; ++r) {
      const float shrink = SoftmaxRow(block, r / tile.group, scratch.scores + r * kScoreStride,
                                      scratch.max[r], scratch.sum[r]);
      if (shrink != 1) Scale<W>(scratch.out + r * tile.head_dim, tile.head_dim, shrink);
    }
    AddBlock<W, Element>(tile, block, next, scratch);
  }
  for (int r = 0; r < tile.rows; ++r) {
    const float inverse = scratch.sum[r] == 0 ? 0.0f : 1.0f / scratch.sum[r];
    float* sum = scratch.out + r * tile.head_dim;
    float* out = OutRow(tile, r);
    if constexpr (kParts<Element> == 2) JoinPairs<W>(sum, tile.head_dim);
    for (int i = 0; i < tile.head_dim; i += W) Store<W>(out + i, Load<W>(sum + i) * inverse);
  }
  StoreLse(tile, scratch);
}

// With the widest vectors that divide head_dim.
template <int W, typename Element>
void ChooseWidth(const AttentionTile& tile, TileScratch& scratch) {
  if constexpr (kParts<Element> * W > 8) {
    if (tile.head_dim % (kParts<Element> * W) != 0) {
      return ChooseWidth<W / 2, Element>(tile, scratch);
    }
  }
  AttendFewRows<W, Element>(tile, scratch);
}

// ---- panels: lanes along rows ---------------------------------------------------------------

// V vectors of rows. q and out: [head_dim][V * kLanes]; scores: [keys][V * kLanes].
struct Panel {
  int rows;  // real ones; the others repeat the last row's position and have q = 0
  float* q;
  float* out;
  float* max;
  float* sum;
  int32_t* row_offset;
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
void ScorePanel(const float* const* key, const float* q, int head_dim, float* scores) {
  constexpr int K = kKeysAtOnce<V>;
  const float* k[K];
#pragma GCC unroll 16
  for (int n = 0; n < K; ++n) k[n] = key[n];
  Float<kLanes> sums[K][V] = {};
  for (int i = 0; i < head_dim; ++i) {
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

template <int V>
void HideKeys(const KeyBlock& block, int count, const int32_t* row_offset, float* scores) {
  const Float<kLanes> hidden = Splat<kLanes>(-kInfinity);
  for (int j = 0; j < count; ++j) {
    if (block.offset[j] <= 0) continue;
    for (int v = 0; v < V; ++v) {
      float* score = scores + (j * V + v) * kLanes;
      const Int<kLanes> seen = LoadInt<kLanes>(row_offset + v * kLanes) >= block.offset[j];
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
void AttendPanel(const KeyBlock& block, const FloatBlock& floats, const Panel& panel, int head_dim,
                 float* scores) {
  int count = block.count;
  const int32_t last = panel.row_offset[panel.rows - 1];
  while (count > 0 && block.offset[count - 1] > last) --count;  // no row here sees them
  if (count == 0) return;
  for (int j = 0; j < count; j += kKeysAtOnce<V>) {
    ScorePanel<V>(floats.key + j, panel.q, head_dim, scores + j * V * kLanes);
  }
  if (block.masked) HideKeys<V>(block, count, panel.row_offset, scores);
  Float<kLanes> shrink[V];
  SoftmaxPanel<V>(count, panel, scores, shrink);
  int i = 0;
  for (; i + kElementsAtOnce<V> <= head_dim; i += kElementsAtOnce<V>) {
    AddPanelValues<V, kElementsAtOnce<V>>(floats, count, i, shrink, scores, panel.out);
  }
  for (; i + 4 <= head_dim; i += 4) {
    AddPanelValues<V, 4>(floats, count, i, shrink, scores, panel.out);
  }
  for (; i < head_dim; i += 2) {
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
    for (int i = 0; i < tile.head_dim; ++i) panel.q[i * kRows + r] = q[i] * scale;
  }
  for (int v = 0; v < V; ++v) {
    Float<kLanes> max = Splat<kLanes>(-kInfinity), sum = {};
    if (token.key != nullptr) {
      Float<kLanes> score = {};
      for (int i = 0; i < tile.head_dim; ++i) {
        score += Load<kLanes>(panel.q + (i * V + v) * kLanes) * token.key[i];
      }
      max = score + token.log_count;
      sum = Splat<kLanes>(1);
    }
    Store<kLanes>(panel.max + v * kLanes, max);
    Store<kLanes>(panel.sum + v * kLanes, sum);
    for (int i = 0; i < tile.head_dim; ++i) {
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
    for (int i = 0; i < tile.head_dim; ++i) out[i] = panel.out[i * kRows + r] * inverse;
  }
}

// fp32 keys and values are used where they lie; bf16 ones are widened into the scratch.
void Widen(const AttentionTile& tile, const KeyBlock& block, TileScratch& scratch,
           FloatBlock& floats) {
  constexpr int W = kLanes < 8 ? kLanes : 8;  // divides every head_dim
  const int d = tile.head_dim;
  for (int j = 0; j < block.count; ++j) {
    if (tile.storage == Storage::kFloat32) {
      floats.key[j] = reinterpret_cast<const float*>(block.key[j]);
      floats.value[j] = reinterpret_cast<const float*>(block.value[j]);
      continue;
    }
    const auto* key = reinterpret_cast<const uint16_t*>(block.key[j]);
    const auto* value = reinterpret_cast<const uint16_t*>(block.value[j]);
    for (int i = 0; i < d; i += W) {
      Store<W>(scratch.keys + j * d + i, Load<W>(key + i));
      Store<W>(scratch.values + j * d + i, Load<W>(value + i));
    }
    floats.key[j] = scratch.keys + j * d;
    floats.value[j] = scratch.values + j * d;
  }
  for (int j = block.count; j < block.count + 16; ++j) floats.key[j] = floats.key[block.count - 1];
}

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
             .row_offset = scratch.row_offset + row};
    vectors[count] = v;
    v == 2 ? StartPanel<2>(tile, row, panel) : StartPanel<1>(tile, row, panel);
    row += v * kLanes;
  }
  KeyReader reader(tile, kBlockKeys);
  FloatBlock floats;
  for (KeyBlock block; reader.Read(block);) {
    Widen(tile, block, scratch, floats);
    for (int p = 0; p < count; ++p) {
      if (vectors[p] == 2) {
        AttendPanel<2>(block, floats, panels[p], tile.head_dim, scratch.scores);
      } else {
        AttendPanel<1>(block, floats, panels[p], tile.head_dim, scratch.scores);
      }
    }
  }
  for (int p = 0, row = 0; p < count; row += vectors[p] * kLanes, ++p) {
    vectors[p] == 2 ? FinishPanel<2>(tile, row, panels[p]) : FinishPanel<1>(tile, row, panels[p]);
  }
  StoreLse(tile, scratch);
}

}  // namespace

void AttendTile(const AttentionTile& tile, TileScratch& scratch) {
  if (tile.rows > kFewRows) {
    AttendPanels(tile, scratch);
  } else if (tile.storage == Storage::kFloat32) {
    ChooseWidth<kLanes, float>(tile, scratch);
  } else {
    ChooseWidth<kLanes, uint16_t>(tile, scratch);
  }
}

}  // namespace headlong::cpu::HEADLONG_ISA
