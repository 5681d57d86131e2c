// Decode attention for lanes of bf16 queries whose rows are not all plain rows of head_dim numbers:
// coded keys or values, or shorter rows; with the matrix units as decode_mma.cu has it. Keys in
// int8 and int4 are multiplied as they are, by queries in bytes; fp8 keys and all coded values
// become fp16, in which codes are exact. A row's scale multiplies its logit, and its weight before
// that is rounded to fp16. int4's scales of 32 numbers multiply sums over those 32, and weights
// once per 32. Compiled once per pair of types (HEADLONG_KEYS, HEADLONG_VALUES).
//
// fp16 has no room for small weights beside small scales. So the softmax is about the greatest of
// weight times scale, not of weights, within kSlack: operands are at most 2^kSlack. Scales below
// 2^-60 count as that.
//
// Bytes moved: code_bytes + 2 * scales per kept row, once. Beside memory, instructions bind: some
// 340 for 16 tokens of int4 and head_dim 128, of which those on integers and bits take two cycles.
#include "worker/kernels/decode_kernel.cuh"
#include "worker/kernels/decode_plain_rows.cuh"
#include "worker/kernels/decode_scores.cuh"

namespace headlong::cuda {
namespace {

constexpr float kNoPeak = -3e38f;  // of no token: below all logits

// How far a weight may be above what the softmax is about, in powers of two, before all that was
// summed is rescaled: words between threads for one block of many instead of each.
constexpr float kSlack = 8;

// One warp's softmax over its tokens of an item, for 4 * kQueries query heads.
template <int kHeadDim, int kQueries>
class WarpSoftmax {
 public:
  using KeyBlock = StoredBlock<Storage::HEADLONG_KEYS, kHeadDim>;
  using ValueBlock = StoredBlock<Storage::HEADLONG_VALUES, kHeadDim>;
  using Blocks = StoredBlocks<KeyBlock, ValueBlock>;
  using States = WarpStates<kHeadDim, kQueries * 4>;

  __device__ WarpSoftmax() {}

  __device__ void Begin(const DecodeAttention& decode, const DecodeItem& item) {
    const float scale = decode.scale * kLog2e;
#pragma unroll
    for (int u = 0; u < kQueries; ++u) {
      peak_[u] = kNoPeak;
      sum_[u] = 0;
    }
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      for (auto& of_columns : out_[t]) {
        for (float& x : of_columns) x = 0;
      }
    }
    key_scales_ = KeyBlock::Scales(item.lane.key_dims);
    value_scales_ = ValueBlock::Scales(item.lane.value_dims);
    const DecodeLane& lane = item.lane;
    if (item.begin == 0 && (lane.sink_begin < lane.sink_end || lane.dropped > 0)) {
      BeginWithPlainRows(decode, lane, scale);
    }
    products_.Begin(decode, lane.query, scale, thread_);
  }

  __device__ void Score(uint32_t block, uint32_t live) {
    live_ = live;
    const ScalesOf<KeyBlock> scales(block, key_scales_, thread_);
    products_.Score(block, thread_, scales, s_);
    if (live != kAllRows) HideOthers();
  }
  __device__ void Add(uint32_t block) {
    StoredValues<ValueBlock> values{
        {block, value_scales_, thread_}, MatrixRows<ValueBlock>(block, thread_), constants_};
    if (live_ != kAllRows) {
      for (int half = 0; half < 2; ++half) {
        if (!Lives(half)) values.scales.Clear(half);
      }
    }
    AddRows(values);
  }

  __device__ void End(const States& states, int group) const {
    const int warp = threadIdx.x / 32;
#pragma unroll
    for (int u = 0; u < kQueries; ++u) {
      const int query = thread_.column + 4 * u;
      const float sum = OverRows(sum_[u], [](float a, float b) { return a + b; });
      if (query >= group) continue;
      if (thread_.row == 0) {
        states.peak(warp, query) = peak_[u];
        states.sum(warp, query) = sum;
      }
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        for (int half = 0; half < 2; ++half) {
          const int number = OutNumber(t, half);
          if (number < kHeadDim)
            states.out(warp, query)[number] = out_[t][u / 2][Place(t, u, half)];
        }
      }
    }
  }

 private:
  static constexpr int kTiles = kValueTiles<ValueBlock>;
  static constexpr int kColumns = kColumnTiles<kQueries>;
  // Every second column would be of no query: of two groups of int4, each has its own.
  static constexpr bool kTwoGroups = kQueries == 1 && ValueBlock::kInt4;

  // Of a thread's result in a tile, its u-th query.
  __device__ static constexpr int Place(int tile, int u, int half) {
    return half * 2 + (kTwoGroups ? tile / 2 % 2 : u % 2);
  }
  __device__ int OutNumber(int tile, int half) const {
    return ValueNumber<ValueBlock>(tile, half != 0, thread_.row);
  }

  __device__ bool Lives(int half) const { return (live_ >> (thread_.row + half * 8) & 1) != 0; }
  __device__ void HideOthers() {
    for (int half = 0; half < 2; ++half) {
      if (Lives(half)) continue;
      for (auto& logits : s_) logits[half] = kMinusInfinity;
    }
  }

  // s_ become weights about a peak to which `logs` add, the log2 of what is to multiply a row.
  __device__ void Weigh(const float (&logs)[2]) {
    float most[kQueries];
    bool above = false;
#pragma unroll
    for (int u = 0; u < kQueries; ++u) {
      most[u] = fmaxf(s_[u][0] + logs[0], s_[u][1] + logs[1]);
      above = above || most[u] > peak_[u] + kSlack;
    }
    if (__any_sync(~0u, above)) Raise(most);
#pragma unroll
    for (int u = 0; u < kQueries; ++u) {
      for (float& s : s_[u]) s = Exp2(s - peak_[u]);
      sum_[u] += s_[u][0] + s_[u][1];
    }
  }
  __device__ void Raise(const float (&most)[kQueries]) {
#pragma unroll
    for (int u = 0; u < kQueries; ++u) {
      const float peak = fmaxf(peak_[u], OverRows(most[u], fmaxf));
      const float rescale = Exp2(peak_[u] - peak);
      peak_[u] = peak;
      sum_[u] *= rescale;
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        for (int half = 0; half < 2; ++half) out_[t][u / 2][Place(t, u, half)] *= rescale;
      }
    }
  }

  // Weights of a group of numbers as the second operand.
  template <typename Values>
  __device__ void Pack(const Values& values, int group, uint32_t (&weights)[kColumns][2]) const {
    constexpr bool kByGroup = std::decay_t<decltype(values.scales)>::kByGroup;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float scale = values.scales.Of(half, group);
      float next = scale;  // of the second column
      if constexpr (kTwoGroups && kByGroup) {
        next = group + 1 < ValueBlock::kGroups ? values.scales.Of(half, group + 1) : 0;
      }
#pragma unroll
      for (int n = 0; n < kColumns; ++n) {
        const float second = s_[kQueries == 1 ? 0 : 2 * n + 1][half];
        weights[n][half] = Transpose(Values::Element::Pack(s_[2 * n][half] * scale, second * next));
      }
    }
  }

  template <typename Values>
  __device__ void AddRows(const Values& values) {
    constexpr bool kByGroup = std::decay_t<decltype(values.scales)>::kByGroup;
    constexpr int kTilesOf = kTilesOfPair<ValueBlock>;
    Weigh({values.scales.Log(0), values.scales.Log(1)});
    uint32_t weights[kColumns][2];
#pragma unroll
    for (int pair = 0; pair < (ValueBlock::kChunks + 1) / 2; ++pair) {
      typename Values::Tiles a;
      values.Load(pair, a);
#pragma unroll
      for (int i = 0; i < kTilesOf && pair * kTilesOf + i < kTiles; ++i) {
        const int tile = pair * kTilesOf + i;
        if (tile == 0 || (kByGroup && tile % (kTwoGroups ? 4 : 2) == 0)) {
          Pack(values, tile / 2, weights);
        }
#pragma unroll
        for (int n = 0; n < kColumns; ++n) Values::Element::Mma(out_[tile][n], a[i], weights[n]);
      }
    }
  }

  // What is not coded: plain rows of first tokens, by the warps in turns, and the compensation
  // token.
  __device__ void BeginWithPlainRows(const DecodeAttention& decode, const DecodeLane& lane,
                                     float scale) {
    HalfQueries<kHeadDim, kQueries> queries;
    LoadQueries<kHeadDim, kQueries>(decode, lane.query, thread_, kFourNeighbours, queries);
    if (lane.dropped > 0 && threadIdx.x < 32) BeginWithToken(queries, lane, scale);
    const auto* keys = reinterpret_cast<const uint16_t*>(lane.sinks);
    const auto* values = keys + lane.sink_rows * lane.key_dims;
    float scales[kQueries];
    for (float& of_query : scales) of_query = scale;
#pragma unroll 1
    for (int first = lane.sink_begin + threadIdx.x / 32 * kBlock; first < lane.sink_end;
         first += kDecodeTile) {
      live_ = (1u << min(lane.sink_end - first, kBlock)) - 1;
      ScoreHalves<kHeadDim, kQueries>(
          PlainKeys{{keys, first, lane.sink_end, lane.key_dims}, thread_}, queries, scales, s_);
      HideOthers();
      AddRows(
          PlainValues<ValueBlock>{{values, first, lane.sink_end, lane.value_dims}, thread_, {}});
    }
  }

  // The compensation token: peak = its logit as a plain row has it, which leaves it a weight of 1 /
  // kLeastScale; sum = that, out = its value times that.
  __device__ void BeginWithToken(const HalfQueries<kHeadDim, kQueries>& queries,
                                 const DecodeLane& lane, float scale) {
    const float inverse = 1.0f / lane.dropped;
    const float log_count = log2f(static_cast<float>(lane.dropped));
    const float* key = lane.dropped_sums;
    const float* value = key + lane.key_dims;
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
      float dot = 0;  // of this thread's column of queries
#pragma unroll
      for (int k = 0; k < kHeadDim / 16; ++k) {
        const int i = k * 16 + thread_.column * 4;
        const float4 x =
            i < lane.key_dims ? *reinterpret_cast<const float4*>(key + i) : float4{0, 0, 0, 0};
        const float2 first = Bfloat16Element::Unpack(queries[n][k][0]);
        const float2 second = Bfloat16Element::Unpack(queries[n][k][1]);
        dot += first.x * x.x + first.y * x.y + second.x * x.z + second.y * x.w;
      }
      dot += __shfl_xor_sync(~0u, dot, 1);
      dot += __shfl_xor_sync(~0u, dot, 2);
      for (int u = 2 * n; u < 2 * n + 2 && u < kQueries; ++u) {
        peak_[u] = OfQuery(dot, u, thread_) * inverse * scale + log_count + kLeastLog;
        sum_[u] = thread_.row == 0 ? 1 / kLeastScale : 0;  // added up over rows at the end
      }
    }
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      for (int i = 0; i < 4; ++i) {
        const int number = OutNumber(t, i / 2);
        const float x = number < lane.value_dims ? value[number] * inverse / kLeastScale : 0;
        for (auto& of_columns : out_[t]) of_columns[i] = x;
      }
    }
  }

  MmaThread thread_;
  WidenConstants constants_;
  KeyProducts<KeyBlock, kHeadDim, kQueries> products_;
  int key_scales_, value_scales_;         // of a row of the lane
  uint32_t live_;                         // bit r: row r of the block in hand is live
  Logits<kQueries> s_;                    // of the block in hand: logits in base 2, then weights
  float peak_[kQueries], sum_[kQueries];  // peaks in base 2; sums of this thread's rows
  float out_[kTiles][kColumns][4];        // [head_dim][query head], unscaled
};

// Four warps to a scheduler hide what widening waits for; twice the columns take twice the
// registers.
template <int kHeadDim, int kQueries>
using Layout = DecodeRoom<typename WarpSoftmax<kHeadDim, kQueries>::States,
                          typename WarpSoftmax<kHeadDim, kQueries>::Blocks,
                          /*kMostCtas=*/
                          (kHeadDim > 128 ? 1
                           : kQueries > 2 ? 2
                                          : 3),
                          /*kMostSlots=*/11>;

template <int kHeadDim, int kQueries>
__global__ void __launch_bounds__(kDecodeThreads, (Layout<kHeadDim, kQueries>::kCtas))
    AttendLanes(DecodeAttention decode) {
  AttendItems<Layout<kHeadDim, kQueries>, WarpSoftmax<kHeadDim, kQueries>>(decode);
}

template <int kQueries>
DecodeKernel KernelFor(int head_dim) {
  return KernelOfHeadDim(head_dim, [](auto dim) {
    constexpr int kHeadDim = decltype(dim)::value;
    return Layout<kHeadDim, kQueries>::KernelOf(AttendLanes<kHeadDim, kQueries>);
  });
}

}  // namespace

DecodeKernel HEADLONG_DECODE_KERNEL(int head_dim, int group) {
  if (group <= 4) return KernelFor<1>(head_dim);
  if (group <= 8) return KernelFor<2>(head_dim);
#ifdef HEADLONG_LARGE_GROUPS
  return KernelFor<4>(head_dim);
#else
  return {};
#endif
}

}  // namespace headlong::cuda
