// Numbers in place of a model's files: a function of a tensor's name, a seed and the position in
// the tensor, so that every share of every cluster holds the same model. Pure.
//
// A GPU fills its memory by the same function: it is constexpr and needs nothing but integers and
// one product and sum in fp32, which round alike everywhere.
#pragma once

#include <cstdint>

namespace headlong {

struct DummyNumbers {
  uint64_t seed = 0;
  float scale = 0;  // numbers are uniform in [offset - scale, offset + scale)
  float offset = 0;
};

// The number at `index` (row-major) of a tensor. The hash is SplitMix64's (Steele, Lea, Flood:
// "Fast splittable pseudorandom number generators", OOPSLA 2014).
constexpr float DummyNumber(const DummyNumbers& numbers, uint64_t index) {
  uint64_t z = numbers.seed + (index + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  const float unit = static_cast<float>(static_cast<int32_t>(z >> 40) - (1 << 23)) / (1 << 23);
  return numbers.scale == 0 ? numbers.offset : numbers.scale * unit;
}

}  // namespace headlong
