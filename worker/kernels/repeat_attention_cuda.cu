#include "worker/kernels/append_lane.cuh"
#include "worker/kernels/decode_pass.cuh"
#include "worker/kernels/repeat_attention_cuda.h"
#include "worker/kernels/row_codes.cuh"

namespace headlong::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / 32;
constexpr int kElements = 256 / 32;  // of the longest head, to a thread

// What a block computes: one query head's rows of a chunk. A warp takes a row or a key at a time.
// kFloat16: see WithType.
template <bool kFloat16>
struct QueryHead {
  const ScoredChunk& scored;
  const Lane lane;
  const DeviceRows plain;  // what first tokens of a coded lane are

  __device__ explicit QueryHead(const ScoredChunk& the_scored)
      : scored(the_scored),
        lane(LaneOf(scored.lanes, scored.chunk, blockIdx.x / scored.lanes.shape.group)),
        plain{kFloat16              ? Storage::kFloat16
              : lane.own_bytes == 4 ? Storage::kFloat32
                                    : Storage::kBfloat16,
              lane.lane_class.keys.dims, 0, 0} {}

  __device__ bool scores() const { return lane.chunk.full && lane.chunk.stripes == 1; }
  // Of q and lse.
  __device__ int64_t Row(int m) const {
    return int64_t{lane.chunk.first_row + m - lane.chunk.position} * gridDim.x + blockIdx.x;
  }
  __device__ void LoadQuery(int m, float (&q)[kElements]) const {
    const int d = scored.lanes.shape.head_dim;
    const auto* from = static_cast<const std::byte*>(scored.q) + Row(m) * d * lane.own_bytes;
    DeviceRows rows = plain;
    rows.dims = d;
    LoadRow<kFloat16>(rows, ConstRow(from, nullptr), q);
  }
  __device__ float Logit(const float (&q)[kElements], int position) const {
    float key[kElements];
    if (lane.IsSink(position)) {
      LoadRow<kFloat16>(plain, ConstRow(lane.Sink(false, position), nullptr), key);
    } else {
      LoadRow<kFloat16>(lane.Rows(false), lane.InPage(false, lane.chunk.read, position), key);
    }
    float dot = 0;
    for (int e = 0; e < kElements; ++e) dot += q[e] * key[e];
    return WarpSum(dot) * scored.scale;
  }
  // The first position that a query at m sees.
  __device__ int FirstVisible(int m) const {
    return scored.lanes.window > 0 ? max(m + 1 - scored.lanes.window, 0) : 0;
  }
};

template <bool kFloat16>
__global__ void __launch_bounds__(kThreads) AddWeights(ScoredChunk scored) {
  __shared__ double sums[kWarps][2];
  const QueryHead<kFloat16> head(scored);
  if (!head.scores()) return;  // the same for all threads
  const int warp = threadIdx.x / 32;
  const int period = static_cast<int>(scored.period);
  const int begin = max(head.lane.chunk.position, static_cast<int>(scored.first_row));
  double echo = 0, induction = 0;
  for (int m = begin + warp; m < head.lane.chunk.end; m += kWarps) {
    float q[kElements];
    head.LoadQuery(m, q);
    const float lse = scored.lse[head.Row(m)];
    const int first = head.FirstVisible(m);
    for (int copy = m - period; copy >= 0 && copy + 1 >= first; copy -= period) {
      if (copy >= first) echo += expf(head.Logit(q, copy) - lse);
      induction += expf(head.Logit(q, copy + 1) - lse);
    }
  }
  if (threadIdx.x % 32 == 0) {
    sums[warp][0] = echo;
    sums[warp][1] = induction;
  }
  __syncthreads();
  if (threadIdx.x >= 2) return;
  double sum = 0;
  for (int w = 0; w < kWarps; ++w) sum += sums[w][threadIdx.x];
  DeviceRepeatSums& to = scored.sums[blockIdx.x];
  (threadIdx.x == 0 ? to.echo : to.induction) += sum;
}

template <bool kFloat16>
__global__ void __launch_bounds__(kThreads) CountCopy(ScoredChunk scored, int row, int position) {
  __shared__ float logits[kWarps];
  __shared__ int positions[kWarps];
  const QueryHead<kFloat16> head(scored);
  if (!head.scores()) return;
  const int warp = threadIdx.x / 32;
  float q[kElements], largest = kMinusInfinity;
  int where = -1;
  head.LoadQuery(row, q);
  for (int p = head.FirstVisible(row) + warp; p <= row; p += kWarps) {
    const float logit = head.Logit(q, p);
    if (logit <= largest) continue;
    largest = logit;
    where = p;
  }
  if (threadIdx.x % 32 == 0) {
    logits[warp] = largest;
    positions[warp] = where;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < kWarps; ++w) {
    const bool first_of_equals = logits[w] == largest && positions[w] < where;
    if (positions[w] < 0 || (logits[w] <= largest && !first_of_equals)) continue;
    largest = logits[w];
    where = positions[w];
  }
  if (where == position) scored.sums[blockIdx.x].copied += 1;
}

bool IsFloat16(const ScoredChunk& scored) {
  return scored.lanes.shape.type == ElementType::kFloat16;
}

}  // namespace

cudaError_t LaunchRepeatAttention(const ScoredChunk& scored, cudaStream_t stream) {
  const auto kernel = IsFloat16(scored) ? AddWeights<true> : AddWeights<false>;
  kernel<<<scored.lanes.heads * scored.lanes.shape.group, kThreads, 0, stream>>>(scored);
  return cudaGetLastError();
}

cudaError_t LaunchCountCopy(const ScoredChunk& scored, int32_t row, int32_t position,
                            cudaStream_t stream) {
  const int heads = scored.lanes.heads * scored.lanes.shape.group;
  const auto kernel = IsFloat16(scored) ? CountCopy<true> : CountCopy<false>;
  kernel<<<heads, kThreads, 0, stream>>>(scored, row, position);
  return cudaGetLastError();
}

}  // namespace headlong::cuda
