// Decode attention for caches of 16-bit floats, with the matrix units: S' = K Q' and O' = V' P' in
// m16n8k16, so that tokens and head_dim fill the long sides and the group of query heads the short
// one (8, or twice 8 for groups above 8). Compiled once per element type (HEADLONG_ELEMENT).
//
// Bytes moved: 2 * head_dim * 2 per kept token and lane, once. Every warp takes every fourth block
// of 16 tokens of an item; the four softmax states are merged at the item's end.
#include "worker/kernels/decode_element.cuh"
#include "worker/kernels/decode_kernel.cuh"
#include "worker/kernels/decode_plain_blocks.cuh"

namespace headlong::cuda {
namespace {

using Element = HEADLONG_ELEMENT;

// One warp's softmax over its tokens of an item, for kColumns * 8 query heads. As the MMA lays it
// out, a thread holds rows `row` and `row + 8` of columns `pair` and `pair + 1`.
template <int kHeadDim, int kColumns>
class WarpSoftmax {
 public:
  static constexpr int kSteps = kHeadDim / 16;
  using States = WarpStates<kHeadDim, kColumns * 8>;
  using Blocks = PlainBlocks<kHeadDim>;

  __device__ WarpSoftmax()
      : row_(threadIdx.x % 32 / 4), pair_(threadIdx.x % 4 * 2), thread_(threadIdx.x % 32) {}

  __device__ void Begin(const DecodeAttention& decode, const DecodeItem& item) {
    scale_ = decode.scale * kLog2e;
    const auto* q =
        static_cast<const typename Element::Type*>(decode.q) + int64_t{item.lane.query} * kHeadDim;
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
      const int query = n * 8 + row_;
#pragma unroll
      for (int k = 0; k < kSteps; ++k) {
        const auto* pairs =
            reinterpret_cast<const uint32_t*>(q + query * kHeadDim + k * 16 + pair_);
        q_[n][k][0] = query < decode.shape.group ? pairs[0] : 0;
        q_[n][k][1] = query < decode.shape.group ? pairs[4] : 0;
      }
      for (int j = 0; j < 2; ++j) {
        peak_[n][j] = kMinusInfinity;
        sum_[n][j] = 0;
      }
#pragma unroll
      for (int t = 0; t < kSteps; ++t) {
        for (int j = 0; j < 4; ++j) out_[n][t][j] = 0;
      }
    }
    if (item.begin == 0 && item.lane.dropped > 0 && threadIdx.x < 32) BeginWithToken(item.lane);
  }

  __device__ void Score(uint32_t keys, uint32_t live) {
    float logits[kColumns][2][4] = {};  // two chains of sums
    const uint32_t from = Rows::Begin(keys, thread_ % 16) ^ thread_ / 16 * 16;
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      uint32_t a[4];
      LoadMatrix(a, Rows::Quad(from, k * 2));
#pragma unroll
      for (int n = 0; n < kColumns; ++n) Element::Mma(logits[n][k % 2], a, q_[n][k]);
    }
    const bool low = (live >> row_ & 1) != 0, high = (live >> (row_ + 8) & 1) != 0;
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
      float rescale[2], p[4];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const float s0 = low ? (logits[n][0][j] + logits[n][1][j]) * scale_ : kMinusInfinity;
        const float s1 =
            high ? (logits[n][0][j + 2] + logits[n][1][j + 2]) * scale_ : kMinusInfinity;
        const float peak = fmaxf(peak_[n][j], OverRows(fmaxf(s0, s1), fmaxf));
        const float finite_peak = peak == kMinusInfinity ? 0 : peak;
        rescale[j] = Exp2(peak_[n][j] - finite_peak);
        peak_[n][j] = peak;
        p[j] = Exp2(s0 - finite_peak);
        p[j + 2] = Exp2(s1 - finite_peak);
        sum_[n][j] = sum_[n][j] * rescale[j] + p[j] + p[j + 2];
      }
      if (__any_sync(~0u, rescale[0] != 1 || rescale[1] != 1)) {
#pragma unroll
        for (int t = 0; t < kSteps; ++t) {
          for (int j = 0; j < 4; ++j) out_[n][t][j] *= rescale[j % 2];
        }
      }
      p_[n][0] = Transpose(Element::Pack(p[0], p[1]));
      p_[n][1] = Transpose(Element::Pack(p[2], p[3]));
    }
  }

  __device__ void Add(uint32_t values) {
    const uint32_t row = Rows::Begin(values, thread_ % 8 + thread_ / 16 * 8);
    const uint32_t from = row ^ thread_ / 8 % 2 * 16;
#pragma unroll
    for (int t = 0; t < kSteps; ++t) {
      uint32_t a[4];
      LoadTransposed(a, Rows::Quad(from, t * 2));
#pragma unroll
      for (int n = 0; n < kColumns; ++n) Element::Mma(out_[n][t], a, p_[n]);
    }
  }

  __device__ void End(const States& states, int group) const {
    const int warp = threadIdx.x / 32;
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int query = n * 8 + pair_ + j;
        const float sum = OverRows(sum_[n][j], [](float a, float b) { return a + b; });
        if (query >= group) continue;
        if (row_ == 0) {
          states.peak(warp, query) = peak_[n][j];
          states.sum(warp, query) = sum;
        }
#pragma unroll
        for (int t = 0; t < kSteps; ++t) {
          states.out(warp, query)[t * 16 + row_] = out_[n][t][j];
          states.out(warp, query)[t * 16 + row_ + 8] = out_[n][t][j + 2];
        }
      }
    }
  }

 private:
  using Rows = typename Blocks::Rows;

  // The compensation token: peak = its logit, sum = 1, out = its value.
  __device__ void BeginWithToken(const DecodeLane& lane) {
    const float inverse = 1.0f / lane.dropped;
    const float log_count = log2f(static_cast<float>(lane.dropped));
    const float* key = lane.dropped_sums;
    const float* value = key + kHeadDim;
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
      float dot = 0;  // of query head n * 8 + row_
#pragma unroll
      for (int k = 0; k < kSteps; ++k) {
        for (int j = 0; j < 2; ++j) {
          const float2 q = Element::Unpack(q_[n][k][j]);
          const float2 x = reinterpret_cast<const float2*>(key)[(k * 16 + j * 8 + pair_) / 2];
          dot += q.x * x.x + q.y * x.y;
        }
      }
      dot += __shfl_xor_sync(~0u, dot, 1);
      dot += __shfl_xor_sync(~0u, dot, 2);
      for (int j = 0; j < 2; ++j) {
        peak_[n][j] = __shfl_sync(~0u, dot, (pair_ + j) * 4) * inverse * scale_ + log_count;
        sum_[n][j] = row_ == 0 ? 1 : 0;  // added up over rows at the end
      }
#pragma unroll
      for (int t = 0; t < kSteps; ++t) {
        for (int j = 0; j < 4; ++j) {
          out_[n][t][j] = value[t * 16 + row_ + j / 2 * 8] * inverse;
        }
      }
    }
  }

  const int row_, pair_, thread_;
  float scale_;
  uint32_t q_[kColumns][kSteps][2];
  uint32_t p_[kColumns][2];
  float peak_[kColumns][2], sum_[kColumns][2];  // peaks in base 2; sums of this thread's rows
  float out_[kColumns][kSteps][4];              // [head_dim][query head], unscaled
};

// Two CTAs where registers and the rings leave room.
template <int kHeadDim, int kColumns>
using Layout = DecodeRoom<WarpStates<kHeadDim, kColumns * 8>, PlainBlocks<kHeadDim>,
                          /*kMostCtas=*/kHeadDim <= 128 ? 2 : 1, /*kMostSlots=*/9>;

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
