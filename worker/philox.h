// Philox4x32-10, a counter-based random number function (Salmon, Moraes, Dror, Shaw: "Parallel
// random numbers: as easy as 1, 2, 3", SC 2011). The same number whatever the batch, the epoch or
// the worker. Constant expressions, so that GPUs compute them, too.
#pragma once

#include <array>
#include <cstdint>

namespace headlong {

// Four random words for a 128-bit counter and a 64-bit key.
constexpr std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, uint64_t key) {
  uint32_t key0 = static_cast<uint32_t>(key);
  uint32_t key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {
        static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(product1),
        static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(product0)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

// 64 even bits for the token at `position` of a request with `seed`: its draw number `draw`.
constexpr uint64_t RandomAt(uint64_t seed, uint64_t position, uint32_t draw) {
  const auto words = Philox4x32(
      {static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), draw, 0}, seed);
  return uint64_t{words[0]} << 32 | words[1];
}

}  // namespace headlong
