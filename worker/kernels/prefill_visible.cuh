// What a row of a prefill tile sees: the compensation token it begins with and the keys hidden from
// it.
#pragma once

#include "worker/kernels/prefill_keys.cuh"
#include "worker/kernels/prefill_softmax.cuh"

namespace headlong::cuda {

// The compensation token of each row: peak = its logit, sum = 1, out = its value. q(r, column)
// gives two elements of a query.
template <typename Element, int kDim, int kRowTiles, int kKeys, typename QueryPair>
__device__ void BeginWithTokens(const LayerLanes& lanes, const Lane& lane, int head, QueryPair q,
                                TileSoftmax<Element, kDim, kRowTiles, kKeys>& softmax) {
  const ChunkLanes& chunk = lane.chunk;
  const int pair = softmax.pair;
  const int keys = lane.lane_class.keys.dims, values = lane.lane_class.values.dims;
#pragma unroll
  for (int t = 0; t < kRowTiles; ++t) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int r = softmax.row + t * 16 + h * 8;
      const int lo = WindowBegin(chunk, softmax.queries.Position(r)), dropped = lo - chunk.sinks;
      if (dropped <= 0) continue;  // the same for the four threads of a row
      const int blocks = lo / kBlockRows - chunk.fold_begin / kBlockRows;
      const float* key = TokenOf(lanes, chunk, head, blocks);
      const float* value = key + keys;
      const float inverse = 1.0f / dropped;
      float dot = 0;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        const float2 x = Element::Unpack(q(r, n * 8 + pair));
        const int i = n * 8 + pair;
        const float2 k = i < keys ? *reinterpret_cast<const float2*>(key + i) : float2{0, 0};
        const float2 v = i < values ? *reinterpret_cast<const float2*>(value + i) : float2{0, 0};
        dot += x.x * k.x + x.y * k.y;
        softmax.out[t][n][h * 2] = v.x * inverse;
        softmax.out[t][n][h * 2 + 1] = v.y * inverse;
      }
      const unsigned row_threads = 0xfu << (threadIdx.x % 32 & ~3u);
      dot += __shfl_xor_sync(row_threads, dot, 1);
      dot += __shfl_xor_sync(row_threads, dot, 2);
      softmax.peak[t][h] = dot * inverse * softmax.scale + log2f(static_cast<float>(dropped));
      softmax.sum[t][h] = pair == 0 ? 1 : 0;  // added up over the row's threads at the end
    }
  }
}

// Hides keys of [first, first + kKeys) that a row does not see.
template <typename Element, int kDim, int kRowTiles, int kKeys>
__device__ void Mask(const KeyRange& range, int model_window, int first,
                     TileSoftmax<Element, kDim, kRowTiles, kKeys>& softmax) {
#pragma unroll
  for (int t = 0; t < kRowTiles; ++t) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const SeenKeys seen =
          range.Seen(softmax.queries.Position(softmax.row + t * 16 + h * 8), model_window);
      const int begin = first + softmax.pair;
      const int from = seen.begin - begin, to = seen.end - begin;
      const int sinks_from = seen.sinks_begin - begin, sinks_to = seen.sinks_end - begin;
      if (seen.sinks_end > first) {
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
          for (int j = 0; j < 2; ++j) {
            const int key = n * 8 + j;
            const bool sees = (key >= from && key < to) || (key >= sinks_from && key < sinks_to);
            if (!sees) softmax.logits[t][n][h * 2 + j] = kMinusInfinity;
          }
        }
      } else {
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
          for (int j = 0; j < 2; ++j) {
            const int key = n * 8 + j;
            if (key < from || key >= to) softmax.logits[t][n][h * 2 + j] = kMinusInfinity;
          }
        }
      }
    }
  }
}

}  // namespace headlong::cuda
