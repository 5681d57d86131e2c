// Decode attention for coded rows and bf16 queries, with the matrix units as decode_mma.cu has it.
// Codes are exact in bf16; a row's scale multiplies its logit, and its weight before that is
// rounded. int4's scales of 32 numbers multiply sums over those 32, and weights once per 32.
// Compiled once per pair of types (HEADLONG_KEYS, HEADLONG_VALUES).
//
// Bytes moved: code_bytes + 2 * scales per kept row, once. On an H100 int8 and fp8 reach 80 to 89 %
// of the read bandwidth. int4 is bound by instructions at 55 %: a warp issues some 830 for a block
// of 16 tokens with head_dim 128, which is 2304 bytes, against 460 for 8192 bytes of bf16.
#include "worker/kernels/decode_plain_rows.cuh"
#include "worker/kernels/decode_room.cuh"

namespace headlong::cuda {
namespace {

using Element = Bfloat16Element;

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
    const auto* q = static_cast<const uint16_t*>(decode.q) + int64_t{item.lane.query} * kHeadDim;
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
      const int query = n * 8 + thread_.row;
#pragma unroll
      for (int k = 0; k < kSteps; ++k) {
        uint2 four = {0, 0};
        if (query < decode.shape.group) {
          four = *reinterpret_cast<const uint2*>(q + query * kHeadDim + k * 16 + thread_.four);
        }
        q_[n][k][0] = __byte_perm(four.x, four.y, 0x5410);
        q_[n][k][1] = __byte_perm(four.x, four.y, 0x7632);
      }
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
    if (item.lane.dropped > 0 && threadIdx.x < 32) BeginWithToken(item.lane);
    AddSinks(item.lane);
  }

  __device__ void Score(uint32_t block, uint32_t live) {
    ScoreRows(CodedKeys<KeyBlock>(block, key_dims_, thread_), live);
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

  // Plain rows of first tokens, by the warps in turns.
  __device__ void AddSinks(const DecodeLane& lane) {
    const auto* keys = reinterpret_cast<const uint16_t*>(lane.sinks);
    const auto* values = keys + lane.sink_rows * key_dims_;
#pragma unroll 1
    for (int first = lane.sink_begin + threadIdx.x / 32 * kBlock; first < lane.sink_end;
         first += kDecodeTile) {
      const int count = min(lane.sink_end - first, kBlock);
      ScoreRows(PlainKeys({keys, first, lane.sink_end, key_dims_}, thread_), (1u << count) - 1);
      AddRows(PlainValues<ValueBlock::kType>({values, first, lane.sink_end, value_dims_}, thread_));
    }
  }

  template <typename Keys>
  __device__ void ScoreRows(const Keys& keys, uint32_t live) {
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
          Element::Mma(Scales::kByGroup ? part[n] : logits[n][s], a[s], q_[n][2 * g + s]);
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
    float scales[2] = {scale_, scale_};
    if constexpr (Scales::kByRow) {
      for (int h = 0; h < 2; ++h) scales[h] *= keys.scales.Of(h, 0);
    }
    low_ = (live >> thread_.row & 1) != 0;
    high_ = (live >> (thread_.row + 8) & 1) != 0;
#pragma unroll
    for (int n = 0; n < kColumns; ++n) Weigh(n, logits[n], scales);
  }

  __device__ void Weigh(int n, const float (&logits)[2][4], const float (&scales)[2]) {
    float rescale[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float s0 = low_ ? (logits[0][j] + logits[1][j]) * scales[0] : kMinusInfinity;
      const float s1 = high_ ? (logits[0][j + 2] + logits[1][j + 2]) * scales[1] : kMinusInfinity;
      const float peak = fmaxf(peak_[n][j], OverRows(fmaxf(s0, s1), fmaxf));
      const float finite_peak = peak == kMinusInfinity ? 0 : peak;
      rescale[j] = exp2f(peak_[n][j] - finite_peak);
      peak_[n][j] = peak;
      p_[n][j] = exp2f(s0 - finite_peak);
      p_[n][j + 2] = exp2f(s1 - finite_peak);
      sum_[n][j] = sum_[n][j] * rescale[j] + p_[n][j] + p_[n][j + 2];
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
    uint32_t weights[kColumns][2];
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      if (g == 0 || Scales::kByGroup) {
        // Of rows that are not live scales may be anything.
        const float low = low_ ? values.scales.Of(0, g) : 0;
        const float high = high_ ? values.scales.Of(1, g) : 0;
#pragma unroll
        for (int n = 0; n < kColumns; ++n) {
          weights[n][0] = Transpose(Element::Pack(p_[n][0] * low, p_[n][1] * low));
          weights[n][1] = Transpose(Element::Pack(p_[n][2] * high, p_[n][3] * high));
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

  // The compensation token: peak = its logit, sum = 1, out = its value.
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
        const float2 even = Element::Unpack(q_[n][k][0]), odd = Element::Unpack(q_[n][k][1]);
        dot += even.x * x.x + odd.x * x.y + even.y * x.z + odd.y * x.w;
      }
      dot += __shfl_xor_sync(~0u, dot, 1);
      dot += __shfl_xor_sync(~0u, dot, 2);
      for (int j = 0; j < 2; ++j) {
        peak_[n][j] = __shfl_sync(~0u, dot, (thread_.pair + j) * 4) * inverse * scale_ + log_count;
        sum_[n][j] = thread_.row == 0 ? 1 : 0;  // added up over rows at the end
      }
#pragma unroll
      for (int t = 0; t < kGroups * 2; ++t) {
        for (int j = 0; j < 4; ++j) {
          const int number = OutNumber(t, j / 2);
          out_[n][t][j] = number < value_dims_ ? value[number] * inverse : 0;
        }
      }
    }
  }

  const MmaThread thread_;
  int key_dims_, value_dims_;
  float scale_;
  bool low_, high_;  // rows of the block in hand that are live
  uint32_t q_[kColumns][kSteps][2];
  float p_[kColumns][4];                        // weights of the block in hand
  float peak_[kColumns][2], sum_[kColumns][2];  // peaks in base 2; sums of this thread's rows
  float out_[kColumns][kGroups * 2][4];         // [head_dim][query head], unscaled
};

template <int kHeadDim, int kColumns>
using Layout = DecodeRoom<typename WarpSoftmax<kHeadDim, kColumns>::States,
                          typename WarpSoftmax<kHeadDim, kColumns>::Blocks, kHeadDim,
                          /*kMostSlots=*/11>;

template <int kHeadDim, int kColumns>
__global__ void __launch_bounds__(kDecodeThreads, (Layout<kHeadDim, kColumns>::kCtas))
    AttendLanes(DecodeAttention decode) {
  using Place = Layout<kHeadDim, kColumns>;
  extern __shared__ __align__(16) std::byte shared[];
  LetMergeBegin(decode);
  const int first = decode.cta_items[blockIdx.x];
  const ItemList items{reinterpret_cast<DecodeItem*>(shared), decode.items + first,
                       decode.cta_items[blockIdx.x + 1] - first};
  StageItems(items, shared);
  __syncthreads();
  const typename Place::States states{reinterpret_cast<float*>(shared + Place::kItemBytes)};
  using Softmax = WarpSoftmax<kHeadDim, kColumns>;
  Ring<typename Softmax::Blocks, Place::kSlots> ring(
      items, shared + Place::kItemBytes + Place::kStateBytes);
  Softmax softmax;
  for (int i = 0; i < items.count; ++i) {
    const DecodeItem& item = items[i];
    softmax.Begin(decode, item);
    const LiveSlots live(item);
    const int end = live.end;
    for (int slot = item.begin + threadIdx.x / 32 * kBlock; slot < end; slot += kDecodeTile) {
      softmax.Score(ring.Take(false), live.Rows(slot));
      softmax.Add(ring.Take(true));
    }
    softmax.End(states, decode.shape.group);
    __syncthreads();
    StoreStates(decode, item, states);
    __syncthreads();
  }
}

template <int kHeadDim, int kColumns>
DecodeKernel Kernel() {
  return Layout<kHeadDim, kColumns>::KernelOf(AttendLanes<kHeadDim, kColumns>);
}

template <int kColumns>
DecodeKernel KernelFor(int head_dim) {
  switch (head_dim) {
    case 64:
      return Kernel<64, kColumns>();
    case 80:
      return Kernel<80, kColumns>();
    case 96:
      return Kernel<96, kColumns>();
    case 128:
      return Kernel<128, kColumns>();
    case 256:
      return Kernel<256, kColumns>();
    default:
      return {};
  }
}

}  // namespace

DecodeKernel HEADLONG_DECODE_KERNEL(int head_dim, int group) {
  return group <= 8 ? KernelFor<1>(head_dim) : KernelFor<2>(head_dim);
}

}  // namespace headlong::cuda
