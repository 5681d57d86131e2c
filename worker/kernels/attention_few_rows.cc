// Decode: few rows, vectors run along keys and values. K and V stream once, a block of keys at a
// time: scores of the block for all rows, their softmax, its values. Reads 2 head_dim elements per
// key and does 4 rows head_dim flops on them: bound by memory up to some 4 rows of fp32 or 2 of
// bf16.

#include "worker/kernels/key_block.h"
#include "worker/kernels/tile_rows.h"
#include "worker/kernels/vector_math.h"
#include "worker/kernels/vector_pairs.h"

namespace headlong::cpu::HEADLONG_ISA {
namespace {

inline constexpr int kScoreStride =
    kBlockKeys + 32;  // floats from a row's scores to the next row's
static_assert(kFewRows <= kMaxPanelRows);

inline constexpr int kFewRowsBlock = 64;  // its keys, values and what is being fetched fit in L2

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

// Asks for a row of the next block, into L2: a few lines at a time and in the order of their
// addresses, which the processor's own prefetcher follows. Into L1 they come too late or push out
// what is in use: two threads of a Zen 4 then read 17 instead of 22 GB/s of bf16. Past the end of
// the next block this is some earlier row, which costs nothing.
inline void FetchRow(Bytes row, int bytes) {
  for (int at = 0; at < bytes; at += 64) __builtin_prefetch(row + at, /*rw=*/0, /*locality=*/2);
}

// The scales of key and value j: they lie behind the codes of their page, and a line of them is
// enough for 32 rows. Where the next block has none, any address does.
inline void FetchScales(const KeyBlock& next, int j) {
  __builtin_prefetch(next.key_scales[j], /*rw=*/0, /*locality=*/2);
  __builtin_prefetch(next.value_scales[j], /*rw=*/0, /*locality=*/2);
}

// Scores of keys [j, j + K) for R rows: R K sums in registers.
template <int W, typename RowType, int R, int K>
void ScoreKeys(const KeyBlock& block, int j, const float* q, int key_dims, float* scores) {
  Bytes key[K];
  const uint16_t* scales[K];
  for (int k = 0; k < K; ++k) {
    const int at = j + k < block.count ? j + k : block.count - 1;  // repeats the last; not used
    key[k] = block.key[at];
    scales[k] = block.key_scales[at];
  }
  Float<W> sums[R * K] = {};
  for (int i = 0; i < key_dims; i += RowType::kParts * W) {
#pragma GCC unroll 2
    for (int part = 0; part < RowType::kParts; ++part) {
      Float<W> k[K];
#pragma GCC unroll 4
      for (int n = 0; n < K; ++n) k[n] = RowType::template Load<W>(key[n], scales[n], i, part);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const Float<W> v = Load<W>(q + r * key_dims + i + part * W);
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

// x[r][j] *= scale of key or value j, for all rows.
inline void ScaleScores(const AttentionTile& tile, const uint16_t* const* scales, int count,
                        TileScratch& scratch) {
  float wide[kBlockKeys];
  for (int j = 0; j < count; ++j) wide[j] = WidenScale(*scales[j]);
  for (int r = 0; r < tile.rows; ++r) {
    float* scores = scratch.scores + r * kScoreStride;
#pragma omp simd
    for (int j = 0; j < count; ++j) scores[j] *= wide[j];
  }
}

// Scores of a block for all rows; fetches the keys of the next one meanwhile.
template <int W, typename RowType>
void ScoreBlock(const AttentionTile& tile, const KeyBlock& block, const KeyBlock& next,
                TileScratch& scratch) {
  const int d = tile.key_dims;
  for (int j = 0; j < block.count; j += 4) {
    for (int k = j; k < j + 4; ++k) FetchRow(next.key[k], RowType::Size(d));
    if constexpr (RowType::kScaled) FetchScales(next, j);
    ForRowGroups(tile.rows, [&]<int R>(int row) {
      constexpr int K = R == 4 && kRegisters == 16 ? 2 : 4;
      float* scores = scratch.scores + row * kScoreStride;
      for (int k = j; k < j + 4; k += K) {
        ScoreKeys<W, RowType, R, K>(block, k, scratch.q + row * d, d, scores);
      }
    });
  }
  if constexpr (RowType::kRowScale) ScaleScores(tile, block.key_scales, block.count, scratch);
}

// out[r][i..] += sum over keys of weight * value, for R rows and D vectors from i on. Asks for
// as much of `ahead` as is read here.
template <int W, typename RowType, int R, int D>
void AddValues(const KeyBlock& block, int i, int value_dims, const float* weights, float* out,
               const Bytes* ahead) {
  Float<W> sums[R][D];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int d = 0; d < D; ++d) sums[r][d] = Load<W>(out + r * value_dims + i + d * W);
  }
  for (int j = 0; j < block.count; ++j) {
    if (ahead != nullptr) FetchRow(ahead[j] + RowType::Size(i), RowType::Size(D * W));
    Float<W> v[D];
#pragma GCC unroll 4
    for (int d = 0; d < D; ++d) {
      constexpr int kGroup = RowType::kParts * W;
      v[d] = RowType::template Load<W>(block.value[j], block.value_scales[j],
                                       i + d * W / kGroup * kGroup, d % RowType::kParts);
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
    for (int d = 0; d < D; ++d) Store<W>(out + r * value_dims + i + d * W, sums[r][d]);
  }
}

// Adds the block's values to all rows, as many vectors at a time as the sums of the largest group
// of rows leave registers for.
template <int W, typename RowType>
void AddBlock(const AttentionTile& tile, const KeyBlock& block, const KeyBlock& next,
              TileScratch& scratch) {
  if constexpr (RowType::kRowScale) ScaleScores(tile, block.value_scales, block.count, scratch);
  const int dims = tile.value_dims;
  const auto add = [&]<int D>(int i) {
    ForRowGroups(tile.rows, [&]<int R>(int row) {
      AddValues<W, RowType, R, D>(block, i, dims, scratch.scores + row * kScoreStride,
                                  scratch.out + row * dims, row == 0 ? next.value : nullptr);
    });
  };
  int i = 0;
  if (kRegisters == 32 || tile.rows < 3) {
    for (; i + 4 * W <= dims; i += 4 * W) add.template operator()<4>(i);
  }
  for (; i + 2 * W <= dims; i += 2 * W) add.template operator()<2>(i);
  if constexpr (RowType::kParts == 1) {
    for (; i < dims; i += W) add.template operator()<1>(i);
  }
}

// The bias of ALiBi: nothing for the row's own position, less by the slope for each one before. Not
// inline: models without it keep their registers.
[[gnu::noinline]] void AddDistances(const KeyBlock& block, int32_t row_offset, float slope,
                                    float* scores) {
#pragma omp simd
  for (int j = 0; j < block.count; ++j) {
    scores[j] += slope * static_cast<float>(block.offset[j] - row_offset);
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
      const bool gone = row_offset - block.offset[j] >= block.window;
      if (gone || block.offset[j] > row_offset) scores[j] = -kInfinity;
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

template <int W, bool kPairs>
void StartFewRows(const AttentionTile& tile, TileScratch& scratch) {
  const int key_dims = tile.key_dims, value_dims = tile.value_dims;
  const CompensationToken& token = tile.compensation;
  for (int r = 0; r < tile.rows; ++r) {
    const float* q = QueryRow(tile, r);
    float* scaled = scratch.q + r * key_dims;
    float* out = scratch.out + r * value_dims;
    for (int i = 0; i < key_dims; i += W) Store<W>(scaled + i, Load<W>(q + i) * tile.scale);
    scratch.max[r] = -kInfinity;
    scratch.sum[r] = 0;
    for (int i = 0; i < value_dims; i += W) {
      Store<W>(out + i, token.key != nullptr ? Load<W>(token.value + i) : Float<W>{});
    }
    if (token.key != nullptr) {
      Float<W> score = {};
      for (int i = 0; i < key_dims; i += W) score += Load<W>(scaled + i) * Load<W>(token.key + i);
      scratch.max[r] = HorizontalSum<W>(score) + token.log_count;
      scratch.sum[r] = 1;
    }
    if constexpr (kPairs) {
      SplitPairs<W>(scaled, key_dims);
      SplitPairs<W>(out, value_dims);
    }
  }
}

template <int W>
void Scale(float* x, int n, float factor) {
  for (int i = 0; i < n; i += W) Store<W>(x + i, Load<W>(x + i) * factor);
}

// Of whatever type the block's keys are.
template <int W>
void ScoreAnyBlock(const AttentionTile& tile, const KeyBlock& block, const KeyBlock& next,
                   TileScratch& scratch) {
  switch (block.key_type) {
    case Storage::kFloat32:
      return ScoreBlock<W, FloatRow>(tile, block, next, scratch);
    case Storage::kBfloat16:
      return ScoreBlock<W, Bfloat16Row>(tile, block, next, scratch);
    case Storage::kFloat16:
      return ScoreBlock<W, Float16Row>(tile, block, next, scratch);
    case Storage::kFloat8:
      return ScoreBlock<W, Float8Row>(tile, block, next, scratch);
    case Storage::kInt8:
      return ScoreBlock<W, Int8Row>(tile, block, next, scratch);
    case Storage::kInt4:
      return ScoreBlock<W, Int4Row>(tile, block, next, scratch);
  }
}

template <int W>
void AddAnyBlock(const AttentionTile& tile, const KeyBlock& block, const KeyBlock& next,
                 TileScratch& scratch) {
  switch (block.value_type) {
    case Storage::kFloat32:
      return AddBlock<W, FloatRow>(tile, block, next, scratch);
    case Storage::kBfloat16:
      return AddBlock<W, Bfloat16Row>(tile, block, next, scratch);
    case Storage::kFloat16:
      return AddBlock<W, Float16Row>(tile, block, next, scratch);
    case Storage::kFloat8:
      return AddBlock<W, Float8Row>(tile, block, next, scratch);
    case Storage::kInt8:
      return AddBlock<W, Int8Row>(tile, block, next, scratch);
    case Storage::kInt4:
      return AddBlock<W, Int4Row>(tile, block, next, scratch);
  }
}

// kPairs: every run is of bf16, whose pairs are taken apart in one operation; queries and sums are
// then kept in the order that gives.
template <int W, bool kPairs>
void AttendInOrder(const AttentionTile& tile, TileScratch& scratch) {
  StartFewRows<W, kPairs>(tile, scratch);
  KeyReader reader(tile, kFewRowsBlock);
  KeyBlock* const blocks = scratch.blocks;
  reader.Read(blocks[0]);
  for (int turn = 0; blocks[turn].count > 0; turn = 1 - turn) {
    const KeyBlock& block = blocks[turn];
    KeyBlock& next = blocks[1 - turn];
    reader.Read(next);
    if constexpr (kPairs) {
      ScoreBlock<W, Bfloat16Pairs>(tile, block, next, scratch);
    } else {
      ScoreAnyBlock<W>(tile, block, next, scratch);
    }
    for (int r = 0; r < tile.rows; ++r) {
      float* scores = scratch.scores + r * kScoreStride;
      if (tile.slopes != nullptr) {
        AddDistances(block, r / tile.group, tile.slopes[r % tile.group], scores);
      }
      const float shrink =
          SoftmaxRow(block, r / tile.group, scores, scratch.max[r], scratch.sum[r]);
      if (shrink != 1) Scale<W>(scratch.out + r * tile.value_dims, tile.value_dims, shrink);
    }
    if constexpr (kPairs) {
      AddBlock<W, Bfloat16Pairs>(tile, block, next, scratch);
    } else {
      AddAnyBlock<W>(tile, block, next, scratch);
    }
  }
  for (int r = 0; r < tile.rows; ++r) {
    const float inverse = scratch.sum[r] == 0 ? 0.0f : 1.0f / scratch.sum[r];
    float* sum = scratch.out + r * tile.value_dims;
    float* out = OutRow(tile, r);
    if constexpr (kPairs) JoinPairs<W>(sum, tile.value_dims);
    for (int i = 0; i < tile.value_dims; i += W) Store<W>(out + i, Load<W>(sum + i) * inverse);
    FillRest(tile, out);
  }
  StoreLse(tile, scratch);
}

// With the widest vectors that divide keys and values.
template <int W, bool kPairs>
void ChooseWidth(const AttentionTile& tile, TileScratch& scratch) {
  constexpr int kNumbers = kPairs ? 2 * W : W;  // of a load
  if constexpr (kNumbers > 8) {
    if (tile.key_dims % kNumbers != 0 || tile.value_dims % kNumbers != 0)
      return ChooseWidth<W / 2, kPairs>(tile, scratch);
  }
  AttendInOrder<W, kPairs>(tile, scratch);
}

bool AllBfloat16(const AttentionTile& tile) {
  if (tile.key_plain != Storage::kBfloat16 || tile.value_plain != Storage::kBfloat16) return false;
  for (const AttentionRun& run : tile.runs) {
    if (run.key_scales != nullptr || run.value_scales != nullptr) return false;
  }
  return true;
}

}  // namespace

void AttendFewRows(const AttentionTile& tile, TileScratch& scratch) {
  if (AllBfloat16(tile)) {
    ChooseWidth<kLanes, true>(tile, scratch);
  } else {
    ChooseWidth<kLanes, false>(tile, scratch);
  }
}

}  // namespace headlong::cpu::HEADLONG_ISA
