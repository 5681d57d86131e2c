// How a token is drawn from logits, in numbers that CPUs and GPUs get alike to the bit: weights and
// their sums are integers, so the order of a sum, and how a row is split, are of no account.
//
// A token's weight is 2^40 * 2^-octaves, where octaves = (largest logit - its logit) * scale, and
// less than one counts nothing. Tokens are ranked by logit, equal ones by id. Kept are the top_k
// first ranks; of those the fewest first ranks whose mass reaches top_p of theirs; of those the
// ones of at least min_weight. No ranks need be computed: a token is drawn from all that have
// min_weight, and where it is not kept, another one from those ranked above it, until one is. That
// is a draw from the kept ones by weight (rejection by pivot: FlashInfer, "Sorting-free GPU kernels
// for LLM sampling", 2025).
#pragma once

#include <cstdint>

namespace headlong {

struct TokenDraw {
  float scale = 0;          // log2(e) / temperature; 0: the first of the largest logits
  int32_t top_k = 0;        // 0: all
  uint64_t top_p = 0;       // times 2^-64; 0: all
  uint64_t min_weight = 0;  // 0: all
  uint64_t seed = 0;
  uint64_t position = 0;  // of the token to be drawn
};

inline constexpr uint64_t kLargestWeight = uint64_t{1} << 40;

// The weight of a token so far below the best one. Compiled without fused multiply-add, which would
// round otherwise: 2^-fraction to 2e-7 by a polynomial in fp32 (interpolated at Chebyshev nodes).
constexpr uint64_t TokenWeight(float best, float logit, float scale) {
  const float octaves = (best - logit) * scale;
  if (!(octaves < 41.0f)) return 0;  // also what is no number
  const int whole = static_cast<int>(octaves);
  const float fraction = octaves - static_cast<float>(whole);
  float power = 0.00011491995f;
  power = power * fraction + -0.0012916368f;
  power = power * fraction + 0.009597035f;
  power = power * fraction + -0.05549923f;
  power = power * fraction + 0.24022609f;
  power = power * fraction + -0.6931472f;
  power = power * fraction + 1.0f;
  return static_cast<uint64_t>(static_cast<uint32_t>(power * 0x1p30f)) << 10 >> whole;
}

// a * b / 2^64, rounded down.
constexpr uint64_t MulHigh(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>(Wide{a} * b >> 64);
}

// What the mass of the ranks above a token must be below: top_p of `mass`, rounded up.
constexpr uint64_t MassBound(uint64_t mass, uint64_t top_p) {
  return MulHigh(mass, top_p) + (mass * top_p != 0 ? 1 : 0);
}

struct RankedToken {
  float logit = 0;
  int32_t token = 0;
};

constexpr bool RanksAbove(RankedToken a, RankedToken b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

// Of the tokens that rank above one.
struct RanksBefore {
  uint64_t mass = 0;  // of those that have min_weight
  int64_t count = 0;  // all
};

// Whether a token is kept. `bound`: a MassBound, of the mass of the top_k first ranks.
constexpr bool IsKept(RanksBefore before, const TokenDraw& draw, uint64_t bound) {
  return (draw.top_k == 0 || before.count < draw.top_k) && (draw.top_p == 0 || before.mass < bound);
}

}  // namespace headlong
