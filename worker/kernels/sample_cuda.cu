// A cluster of blocks has a row, each block a range of its columns in shared memory, each warp a
// range of those. What the blocks find they read in each other's memory. Logits are read once;
// bound by that and by the arithmetic of the weights where rows are many, by the exchanges between
// the blocks where they are few. Compiled without fused multiply-add: see TokenWeight.
#include <cooperative_groups.h>

#include <algorithm>
#include <cstdint>

#include "worker/kernels/code_version.h"
#include "worker/kernels/device_array.h"
#include "worker/kernels/sample_cuda.h"
#include "worker/philox.h"

namespace headlong::cuda {
namespace {

constexpr int kBlocks = 8;  // of a cluster
constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;

using Mass = uint64_t;

struct Sums {
  Mass mass;  // of tokens that have min_weight
  Mass all;   // of all of them
  Mass count;
};

// Sums over the block are in two slots in turn: one is read by others while the next is written.
struct Shared {
  RankedToken warp_best[kWarps];
  RankedToken best;
  Sums warp_sums[kWarps];
  Sums sums[2];
  uint32_t warp_counts[kWarps];
  uint32_t counts[2];
  RankedToken drawn;  // where the draw fell into this block
};

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900  // there are clusters

constexpr int kLoads = 8;  // of a thread, before the first is used
constexpr unsigned kAll = ~0u;

__device__ RankedToken Better(RankedToken a, RankedToken b) { return RanksAbove(a, b) ? a : b; }

__device__ RankedToken WarpBest(RankedToken best) {
  for (int lane = 16; lane > 0; lane /= 2) {
    best = Better(
        best, {__shfl_xor_sync(kAll, best.logit, lane), __shfl_xor_sync(kAll, best.token, lane)});
  }
  return best;
}

// Over groups of `lanes` lanes.
__device__ Mass SumOfLanes(Mass value, int lanes) {
  for (int lane = lanes / 2; lane > 0; lane /= 2) value += __shfl_xor_sync(kAll, value, lane);
  return value;
}
__device__ Sums SumOfLanes(const Sums& sums, int lanes) {
  return {SumOfLanes(sums.mass, lanes), SumOfLanes(sums.all, lanes), SumOfLanes(sums.count, lanes)};
}

// Orders as the numbers do, -0 below 0.
__device__ uint32_t KeyOf(float logit) {
  const uint32_t bits = __float_as_uint(logit);
  return bits ^ (bits >> 31 != 0 ? ~0u : 1u << 31);
}

// One row, seen by a thread of its cluster. All threads of the cluster make the same calls.
class Row {
 public:
  __device__ Row(const SampleTokensCall& call, float* logits, Shared& shared)
      : call_(call),
        logits_(logits),
        shared_(shared),
        cluster_(cooperative_groups::this_cluster()),
        draw_(call.draws[blockIdx.x / kBlocks]) {
    const int columns = call.first_columns[call.parts];
    const int of_block = (columns + kBlocks - 1) / kBlocks;
    const int of_warp = (of_block + kWarps - 1) / kWarps;
    first_ = min(static_cast<int>(cluster_.block_rank()) * of_block, columns);
    count_ = min(of_block, columns - first_);
    begin_ = min(Warp() * of_warp, count_);
    end_ = min(begin_ + of_warp, count_);
  }

  // Reads the logits. The row's best token.
  __device__ int32_t Load() {
    const int row = static_cast<int>(blockIdx.x) / kBlocks;
    RankedToken best = {-__builtin_huge_valf(), call_.first_columns[call_.parts]};
    for (int part = 0; part < call_.parts; ++part) {
      const int first = call_.first_columns[part];
      const int columns = call_.first_columns[part + 1] - first;
      const float* from = call_.logits + int64_t{call_.rows} * first + int64_t{row} * columns;
      const int end = min(first_ + count_, first + columns);
      for (int i = max(first_, first) + static_cast<int>(threadIdx.x); i < end;
           i += kLoads * kThreads) {
        float logits[kLoads];  // all loads before the first store, which they might follow
#pragma unroll
        for (int k = 0; k < kLoads; ++k) {
          const int column = i + k * kThreads;
          logits[k] = column < end ? from[column - first] : 0;
        }
#pragma unroll
        for (int k = 0; k < kLoads; ++k) {
          const int column = i + k * kThreads;
          if (column >= end) break;
          logits_[column - first_] = logits[k];
          best = Better({logits[k], column}, best);
        }
      }
    }
    best_ = ClusterBest(best);
    return best_.token;
  }

  // As DrawToken. REQUIRES: Load, and that the draw is not for the best token.
  __device__ int32_t Draw() {
    RankedToken limit = {-__builtin_huge_valf(), 0x7fffffff};
    const bool of_first = draw_.top_k > 0 && draw_.top_k < call_.first_columns[call_.parts];
    const Mass mass = draw_.top_p > 0 && of_first ? MassOfFirst() : 0;
    AddUp([](float) { return true; });
    const Mass bound = MassBound(of_first ? mass : total_.all, draw_.top_p);
    for (uint32_t number = 0; total_.mass > 0; ++number) {
      limit = Find(limit, MulHigh(RandomAt(draw_.seed, draw_.position, number), total_.mass));
      if (draw_.top_k == 0 && draw_.top_p == 0) return limit.token;
      AddUpAbove(limit);
      if (IsKept({total_.mass, static_cast<int64_t>(total_.count)}, draw_, bound)) {
        return limit.token;
      }
    }
    return best_.token;  // no logit is finite
  }

  __device__ bool greedy() const { return draw_.scale == 0; }

 private:
  __device__ static int Warp() { return static_cast<int>(threadIdx.x) / 32; }
  __device__ static int Lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ Mass Weight(float logit) const { return TokenWeight(best_.logit, logit, draw_.scale); }

  __device__ RankedToken ClusterBest(RankedToken best) {
    best = WarpBest(best);
    if (Lane() == 0) shared_.warp_best[Warp()] = best;
    __syncthreads();
    if (Warp() == 0) {
      best = WarpBest(shared_.warp_best[Lane() % kWarps]);
      if (Lane() == 0) shared_.best = best;
    }
    cluster_.sync();
    for (int block = 0; block < kBlocks; ++block) {
      best = Better(cluster_.map_shared_rank(&shared_, block)->best, best);
    }
    return best;
  }

  // total_ becomes the sum over the cluster of what the lanes give; what each warp and each block
  // had of the mass is kept for Find.
  __device__ void ClusterSum(const Sums& lane) {
    const Sums warp = SumOfLanes(lane, 32);
    if (Lane() == 0) shared_.warp_sums[Warp()] = warp;
    __syncthreads();
    turn_ = 1 - turn_;
    if (Warp() == 0) {
      const Sums block = SumOfLanes(shared_.warp_sums[Lane() % kWarps], kWarps);
      if (Lane() == 0) shared_.sums[turn_] = block;
    }
    cluster_.sync();
    const Sums block = cluster_.map_shared_rank(&shared_, Lane() % kBlocks)->sums[turn_];
    block_mass_ = block.mass;
    total_ = SumOfLanes(block, kBlocks);
  }

  // The same of a count alone.
  __device__ uint32_t ClusterCount(uint32_t lane) {
    const uint32_t warp = __reduce_add_sync(kAll, lane);
    if (Lane() == 0) shared_.warp_counts[Warp()] = warp;
    __syncthreads();
    turn_ = 1 - turn_;
    if (Warp() == 0) {
      const uint32_t of_warp = Lane() < kWarps ? shared_.warp_counts[Lane()] : 0;
      const uint32_t block = __reduce_add_sync(kAll, of_warp);
      if (Lane() == 0) shared_.counts[turn_] = block;
    }
    cluster_.sync();
    return __reduce_add_sync(
        kAll, Lane() < kBlocks ? cluster_.map_shared_rank(&shared_, Lane())->counts[turn_] : 0);
  }

  // Sums over the logits that `wanted` is true of.
  template <typename Wanted>
  __device__ void AddUp(Wanted wanted) {
    Sums sums = {};
#pragma unroll 4
    for (int i = begin_ + Lane(); i < end_; i += 32) {
      const float logit = logits_[i];
      if (!wanted(logit)) continue;
      const Mass weight = Weight(logit);
      sums.all += weight;
      if (weight >= draw_.min_weight) sums.mass += weight;
      ++sums.count;
    }
    ClusterSum(sums);
  }

  __device__ void AddUpAbove(RankedToken one) {
    Sums sums = {};
#pragma unroll 4
    for (int i = begin_ + Lane(); i < end_; i += 32) {
      const float logit = logits_[i];
      if (!RanksAbove({logit, first_ + i}, one)) continue;
      const Mass weight = Weight(logit);
      if (weight >= draw_.min_weight) sums.mass += weight;
      ++sums.count;
    }
    ClusterSum(sums);
  }

  // Mass of the top_k first ranks: finds the key that as many have at least, bit by bit. REQUIRES:
  // there are more.
  __device__ Mass MassOfFirst() {
    const auto wanted = static_cast<uint32_t>(draw_.top_k);
    uint32_t least = 0;
    for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
      uint32_t count = 0;
#pragma unroll 4
      for (int i = begin_ + Lane(); i < end_; i += 32) {
        count += KeyOf(logits_[i]) >= (least | bit);
      }
      count = ClusterCount(count);
      if (count >= wanted) least |= bit;
      if (count == wanted) break;
    }
    AddUp([=](float logit) { return KeyOf(logit) >= least; });
    if (total_.count == wanted) return total_.all;
    const uint32_t bits = least >> 31 != 0 ? least ^ 1u << 31 : ~least;  // those too many have it
    return total_.all - (total_.count - wanted) * Weight(__uint_as_float(bits));
  }

  // Of the tokens that rank above `limit` and have min_weight, which total_ is the mass of: the one
  // at which the sum of the weights, in order of ids, first exceeds `target`.
  __device__ RankedToken Find(RankedToken limit, Mass target) {
    int owner = 0;
    for (; owner < kBlocks - 1; ++owner) {
      const Mass mass = __shfl_sync(kAll, block_mass_, owner);
      if (target < mass) break;
      target -= mass;
    }
    if (owner == static_cast<int>(cluster_.block_rank())) {
      int warp = 0;
      for (; warp < kWarps - 1 && target >= shared_.warp_sums[warp].mass; ++warp) {
        target -= shared_.warp_sums[warp].mass;
      }
      if (warp == Warp()) FindInWarp(limit, target);
    }
    cluster_.sync();
    return cluster_.map_shared_rank(&shared_, owner)->drawn;
  }

  __device__ void FindInWarp(RankedToken limit, Mass target) {
    for (int begin = begin_; begin < end_; begin += 32) {
      const int i = begin + Lane();
      const RankedToken one = {i < end_ ? logits_[i] : -__builtin_huge_valf(), first_ + i};
      Mass weight = RanksAbove(one, limit) ? Weight(one.logit) : 0;
      if (weight < draw_.min_weight) weight = 0;
      Mass sum = weight;  // of this lane and those before it
      for (int lanes = 1; lanes < 32; lanes *= 2) {
        const Mass other = __shfl_up_sync(kAll, sum, lanes);
        if (Lane() >= lanes) sum += other;
      }
      const unsigned beyond = __ballot_sync(kAll, target < sum);
      if (beyond != 0) {
        if (Lane() == __ffs(static_cast<int>(beyond)) - 1) shared_.drawn = one;
        return;
      }
      target -= __shfl_sync(kAll, sum, 31);
    }
  }

  const SampleTokensCall& call_;
  float* const logits_;  // shared, [count_]: of the block's columns
  Shared& shared_;
  const cooperative_groups::cluster_group cluster_;
  const TokenDraw draw_;
  int first_, count_;  // columns of the block
  int begin_, end_;    // of those, the warp's
  RankedToken best_;   // of the row
  int turn_ = 0;       // slot of the last sum
  Sums total_;         // the last sum
  Mass block_mass_;    // of it, that of block lane % kBlocks
};

#endif  // __CUDA_ARCH__

// Three blocks to a multiprocessor, which vocabularies of up to 148,000 tokens leave room for: what
// one waits for, the others have time for.
__global__ void __cluster_dims__(kBlocks, 1, 1) __launch_bounds__(kThreads, 3)
    SampleTokensKernel(const __grid_constant__ SampleTokensCall call) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  extern __shared__ float logits[];
  __shared__ Shared shared;
  Row row(call, logits, shared);
  int32_t token = row.Load();
  if (!row.greedy()) token = row.Draw();
  if (threadIdx.x == 0 && blockIdx.x % kBlocks == 0) {
    call.out[blockIdx.x / kBlocks] = static_cast<float>(token);
  }
  cooperative_groups::this_cluster().sync();  // no block ends while others read its memory
#else
  __trap();  // nobody launches it: see MostSampledColumns
#endif
}

}  // namespace

int MostSampledColumns() {
  const int code = CodeVersion();
  if (!HasClusters(code)) return 0;
  constexpr int kOwnBytes = 8 * 1024;  // of a block: the system's, and what is shared beside logits
  static_assert(sizeof(Shared) + 1024 <= kOwnBytes);
  return kBlocks * (SharedKibibytes(code) * 1024 - kOwnBytes) / static_cast<int>(sizeof(float));
}

void SampleTokens(const SampleTokensCall& call, cudaStream_t stream) {
  if (call.rows == 0) return;
  const int columns = call.first_columns[call.parts];
  const auto bytes = static_cast<int>((columns + kBlocks - 1) / kBlocks * sizeof(float));
  CheckCuda(cudaFuncSetAttribute(SampleTokensKernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 std::max(bytes, 1)),
            "asking for shared memory");
  SampleTokensKernel<<<call.rows * kBlocks, kThreads, bytes, stream>>>(call);
  CheckCuda(cudaGetLastError(), "drawing tokens");
}

}  // namespace headlong::cuda
