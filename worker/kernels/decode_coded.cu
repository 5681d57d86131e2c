// Decode attention for coded rows and bf16 queries, with the matrix units as decode_mma.cu has it.
// Codes are exact in fp16; so are queries, divided by a power of two. A row's scale multiplies its
// logit, and its weight before that is rounded to fp16. int4's scales of 32 numbers multiply sums
// over those 32, and weights once per 32. Compiled once per pair of types (HEADLONG_KEYS,
// HEADLONG_VALUES).
//
// fp16 has no room for small weights beside small scales. So the softmax is about the greatest of
// weight times scale, not of weights: the greatest operand is 1. Scales below 2^-60 count as that.
//
// Bytes moved: code_bytes + 2 * scales per kept row, once. What binds is not memory alone but
// instructions on integers and bits, which a multiprocessor issues at half the rate of others.
#include "worker/kernels/decode_kernel.cuh"
#include "worker/kernels/decode_plain_rows.cuh"

namespace headlong::cuda {
namespace {

// One warp's softmax over its tokens of an item, for kColumns * 8 query heads.
template <int kHeadDim, int kColumns>
class WarpSoftmax {
 public:
  using KeyBlock = CodedBlock<Storage::HEADLONG_KEYS, kHeadDim>;
  using ValueBlock = CodedBlock<Storage::HEADLONG_VALUES, kHeadDim>;
  using Blocks = CodedBlocks<KeyBlock, ValueBlock>;
  using States = WarpStates<kHeadDim, kColumns * 8>;
  static constexpr int kSteps = kHeadDim / 16;
  static constexpr int kGroups = KeyBlock::kGroups;

  __device__ WarpSoftmax() {}

  __device__ void Begin(const DecodeAttention& decode, const DecodeItem& item) {
    scale_ = decode.scale * kLog2e;
    LoadQueries(decode, item.lane);
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
      Divide(n);
      for (int j = 0; j < 2; ++j) {
        peak_[n][j] = kMinusInfinity;
        sum_[n][j] = 0;
      }
#pragma unroll
      for (int t = 0; t < kGroups * 2; ++t) {
        for (int j = 0; j < 4; ++j) out_[n][t][j] = 0;
      }
    }
    key_dims_ = item.lane.key_dims;
    value_dims_ = item.lane.value_dims;
    if (item.begin > 0) return;
    if (item.lane.sink_begin < item.lane.sink_end || item.lane.dropped > 0) {
      BeginWithPlainRows(decode, item.lane);
    }
  }

  __device__ void Score(uint32_t block, uint32_t live) {
    SetLive(live);
    ScoreRows(CodedKeys<KeyBlock>(block, key_dims_, thread_), q_, divisor_);
  }
  __device__ void Add(uint32_t block) {
    AddRows(CodedValues<ValueBlock>(block, value_dims_, thread_));
  }

  __device__ void End(const States& states, int group) const {
    const int warp = threadIdx.x / 32;
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int query = n * 8 + thread_.pair + j;
        const float sum = OverRows(sum_[n][j], [](float a, float b) { return a + b; });
        if (query >= group) continue;
        if (thread_.row == 0) {
          states.peak(warp, query) = peak_[n][j];
          states.sum(warp, query) = sum;
        }
#pragma unroll
        for (int t = 0; t < kGroups * 2; ++t) {
          for (int h = 0; h < 2; ++h) {
            const int number = OutNumber(t, h);
            if (number < kHeadDim) states.out(warp, query)[number] = out_[n][t][h * 2 + j];
          }
        }
      }
    }
  }

 private:
  __device__ int OutNumber(int tile, int half) const {
    return ValueNumber<ValueBlock::kType>(tile / 2, tile % 2 * 2 + half, thread_.row);
  }

  using Queries = uint32_t[kColumns][kSteps][2];  // of query n * 8 + row, neighbours in pairs
  using OfColumns = float[kColumns][2];           // of queries n * 8 + pair and the next

  // Bit r: row r of the block in hand is live.
  __device__ void SetLive(uint32_t rows) {
    for (int half = 0; half < 2; ++half) {
      thread_.live[half] = (rows >> (thread_.row + half * 8) & 1) != 0;
    }
  }

  // As they are, in bf16.
  __device__ void LoadQueries(const DecodeAttention& decode, const DecodeLane& lane) {
    const auto* q = static_cast<const uint16_t*>(decode.q) + int64_t{lane.query} * kHeadDim;
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
      const int query = n * 8 + thread_.row;
#pragma unroll
      for (int k = 0; k < kSteps; ++k) {
        uint2 four = {0, 0};
        if (query < decode.shape.group) {
          four = *reinterpret_cast<const uint2*>(q + query * kHeadDim + k * 16 + thread_.four);
        }
        q_[n][k][0] = four.x;
        q_[n][k][1] = four.y;
      }
    }
  }

  // Queries become fp16, divided by the power of two that leaves the greatest number in [1, 2).
  __device__ void Divide(int n) {
    float most = 0;
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      for (const uint32_t pair : q_[n][k]) {
        const float2 two = Bfloat16Element::Unpack(pair);
        most = fmaxf(most, fmaxf(fabsf(two.x), fabsf(two.y)));
      }
    }
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
    const uint32_t exponent = min(__float_as_uint(most) & 0x7f800000, 0x7e000000);
    const float inverse = __uint_as_float(0x7f000000 - exponent);
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      for (uint32_t& pair : q_[n][k]) {
        const float2 two = Bfloat16Element::Unpack(pair);
        pair = Float16Element::Pack(two.x * inverse, two.y * inverse);
      }
    }
    for (int j = 0; j < 2; ++j) {
      divisor_[n][j] = __uint_as_float(__shfl_sync(~0u, exponent, (thread_.pair + j) * 4)) * scale_;
    }
  }

  // s_ of a block; query_scales: of the logits of each query.
  template <typename Keys>
  __device__ void ScoreRows(const Keys& keys, const Queries& q, const OfColumns& query_scales) {
    using Scales = decltype(keys.scales);
    float logits[kColumns][2][4] = {};  // two chains of sums
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      uint32_t a[2][4];
      keys.Load(g, a);
      float part[kColumns][4] = {};
#pragma unroll
      for (int s = 0; s < 2 && 2 * g + s < kSteps; ++s) {
#pragma unroll
        for (int n = 0; n < kColumns; ++n) {
          Scales::Element::Mma(Scales::kByGroup ? part[n] : logits[n][s], a[s], q[n][2 * g + s]);
        }
      }
      if constexpr (Scales::kByGroup) {
        const float scales[2] = {keys.scales.Of(0, g), keys.scales.Of(1, g)};
#pragma unroll
        for (int n = 0; n < kColumns; ++n) {
          for (int j = 0; j < 4; ++j) logits[n][0][j] += part[n][j] * scales[j / 2];
        }
      }
    }
    const float low = Scales::kByRow ? keys.scales.Of(0, 0) : 1;
    const float high = Scales::kByRow ? keys.scales.Of(1, 0) : 1;
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float logit = (logits[n][0][j] + logits[n][1][j]) * query_scales[n][j % 2];
        s_[n][j] = thread_.live[j / 2] ? logit * (j < 2 ? low : high) : kMinusInfinity;
      }
    }
  }

  // s_ become weights about a peak to which `logs` add, the log2 of what is to multiply a row.
  __device__ void Weigh(int n, const float (&logs)[2]) {
    float rescale[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float most = fmaxf(s_[n][j] + logs[0], s_[n][j + 2] + logs[1]);
      const float peak = fmaxf(peak_[n][j], OverRows(most, fmaxf));
      const float finite_peak = peak == kMinusInfinity ? 0 : peak;
      rescale[j] = Exp2(peak_[n][j] - finite_peak);
      peak_[n][j] = peak;
      s_[n][j] = Exp2(s_[n][j] - finite_peak);
      s_[n][j + 2] = Exp2(s_[n][j + 2] - finite_peak);
      sum_[n][j] = sum_[n][j] * rescale[j] + s_[n][j] + s_[n][j + 2];
    }
    if (!__any_sync(~0u, rescale[0] != 1 || rescale[1] != 1)) return;
#pragma unroll
    for (int t = 0; t < kGroups * 2; ++t) {
      for (int j = 0; j < 4; ++j) out_[n][t][j] *= rescale[j % 2];
    }
  }

  template <typename Values>
  __device__ void AddRows(const Values& values) {
    using Scales = decltype(values.scales);
    using Element = typename Scales::Element;
    const float logs[2] = {values.scales.Log(0), values.scales.Log(1)};
#pragma unroll
    for (int n = 0; n < kColumns; ++n) Weigh(n, logs);
    uint32_t weights[kColumns][2];
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      if (g == 0 || Scales::kByGroup) {
        const float low = values.scales.Of(0, g), high = values.scales.Of(1, g);
#pragma unroll
        for (int n = 0; n < kColumns; ++n) {
          weights[n][0] = Transpose(Element::Pack(s_[n][0] * low, s_[n][1] * low));
          weights[n][1] = Transpose(Element::Pack(s_[n][2] * high, s_[n][3] * high));
        }
      }
      uint32_t a[2][4];
      values.Load(g, a);
#pragma unroll
      for (int n = 0; n < kColumns; ++n) {
        Element::Mma(out_[n][2 * g], a[0], weights[n]);
        Element::Mma(out_[n][2 * g + 1], a[1], weights[n]);
      }
    }
  }

  // What is not coded: plain rows of first tokens, by the warps in turns, and the compensation
  // token.
  __device__ void BeginWithPlainRows(const DecodeAttention& decode, const DecodeLane& lane) {
    LoadQueries(decode, lane);
    if (lane.dropped > 0 && threadIdx.x < 32) BeginWithToken(lane);
    const auto* keys = reinterpret_cast<const uint16_t*>(lane.sinks);
    const auto* values = keys + lane.sink_rows * key_dims_;
    OfColumns scales;
    for (int n = 0; n < kColumns; ++n) scales[n][0] = scales[n][1] = scale_;
#pragma unroll 1
    for (int first = lane.sink_begin + threadIdx.x / 32 * kBlock; first < lane.sink_end;
         first += kDecodeTile) {
      const int count = min(lane.sink_end - first, kBlock);
      SetLive((1u << count) - 1);
      ScoreRows(PlainKeys({keys, first, lane.sink_end, key_dims_}, thread_), q_, scales);
      AddRows(PlainValues<ValueBlock::kType>({values, first, lane.sink_end, value_dims_}, thread_));
    }
#pragma unroll
    for (int n = 0; n < kColumns; ++n) Divide(n);
  }

  // The compensation token: peak = its logit as a plain row has it, which leaves it a weight of 1 /
  // kLeastScale; sum = that, out = its value times that. Queries are in bf16.
  __device__ void BeginWithToken(const DecodeLane& lane) {
    const float inverse = 1.0f / lane.dropped;
    const float log_count = log2f(static_cast<float>(lane.dropped));
    const float* key = lane.dropped_sums;
    const float* value = key + key_dims_;
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
      float dot = 0;  // of query head n * 8 + row
#pragma unroll
      for (int k = 0; k < kSteps; ++k) {
        const int i = k * 16 + thread_.four;
        const float4 x =
            i < key_dims_ ? *reinterpret_cast<const float4*>(key + i) : float4{0, 0, 0, 0};
        const float2 first = Bfloat16Element::Unpack(q_[n][k][0]);
        const float2 second = Bfloat16Element::Unpack(q_[n][k][1]);
        dot += first.x * x.x + first.y * x.y + second.x * x.z + second.y * x.w;
      }
      dot += __shfl_xor_sync(~0u, dot, 1);
      dot += __shfl_xor_sync(~0u, dot, 2);
      for (int j = 0; j < 2; ++j) {
        const float logit = __shfl_sync(~0u, dot, (thread_.pair + j) * 4) * inverse * scale_;
        peak_[n][j] = logit + log_count + kLeastLog;
        sum_[n][j] = thread_.row == 0 ? 1 / kLeastScale : 0;  // added up over rows at the end
      }
#pragma unroll
      for (int t = 0; t < kGroups * 2; ++t) {
        for (int j = 0; j < 4; ++j) {
          const int number = OutNumber(t, j / 2);
          out_[n][t][j] = number < value_dims_ ? value[number] * inverse / kLeastScale : 0;
        }
      }
    }
  }

  MmaThread thread_;
  int key_dims_, value_dims_;
  float scale_;
  Queries q_;
  OfColumns divisor_;     // of q_, times scale_
  float s_[kColumns][4];  // of the block in hand: logits in base 2, then weights
  float peak_[kColumns][2], sum_[kColumns][2];  // peaks in base 2; sums of this thread's rows
  float out_[kColumns][kGroups * 2][4];         // [head_dim][query head], unscaled
};

// Four warps to a scheduler hide what widening waits for; twice the columns take twice the
// registers.
template <int kHeadDim, int kColumns>
using Layout = DecodeRoom<typename WarpSoftmax<kHeadDim, kColumns>::States,
                          typename WarpSoftmax<kHeadDim, kColumns>::Blocks,
                          /*kMostCtas=*/kHeadDim <= 128 ? 4 / kColumns : 1, /*kMostSlots=*/11>;

template <int kHeadDim, int kColumns>
__global__ void __launch_bounds__(kDecodeThreads, (Layout<kHeadDim, kColumns>::kCtas))
    AttendLanes(DecodeAttention decode) {
  AttendItems<Layout<kHeadDim, kColumns>, WarpSoftmax<kHeadDim, kColumns>>(decode);
}

template <int kColumns>
DecodeKernel KernelFor(int head_dim) {
  return KernelOfHeadDim(head_dim, [](auto dim) {
    constexpr int kHeadDim = decltype(dim)::value;
    return Layout<kHeadDim, kColumns>::KernelOf(AttendLanes<kHeadDim, kColumns>);
  });
}

}  // namespace

DecodeKernel HEADLONG_DECODE_KERNEL(int head_dim, int group) {
  return group <= 8 ? KernelFor<1>(head_dim) : KernelFor<2>(head_dim);
}

}  // namespace headlong::cuda
