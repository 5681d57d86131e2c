// What one query head sees, in fp64 and straight from the definition ("What a local head sees"):
// for every position the set of visible positions, the set of dropped ones, one softmax. Written
// apart from cache/ and worker/, includes neither, and is the yardstick for both. Slow; pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace headlong::reference {

struct HeadRule {
  bool retrieval = false;  // sees everything; the rest is ignored
  int64_t sinks = 0;
  int64_t window = 1;
  int64_t block = 16;
  bool compensation = true;
  bool exact = false;         // RazorAttention's prefill; `window` is ignored
  int64_t prompt_tokens = 0;  // N, used by `exact`
};

// Row-major [positions][head_dim]; keys and queries after rotation.
struct HeadInput {
  int head_dim = 0;
  std::span<const float> queries;
  std::span<const float> keys;
  std::span<const float> values;
};

struct HeadOutput {
  std::vector<double> out;  // [positions - first][head_dim]
  std::vector<double> lse;  // [positions - first], natural log, scaled logits
};

// True where a query at position m sees the key at position p itself.
bool Sees(const HeadRule& rule, int64_t m, int64_t p);
// True where position p is part of the compensation token of a query at position m.
bool StandsFor(const HeadRule& rule, int64_t m, int64_t p);

// Output of the queries at positions [first, positions). Keys and values are used as they are:
// round them before (RoundToBfloat16) where the lane stores bf16.
HeadOutput Attend(const HeadRule& rule, const HeadInput& input, int64_t first = 0);

// Nearest value with 8 significant bits, ties to even.
float RoundToBfloat16(float value);

}  // namespace headlong::reference
