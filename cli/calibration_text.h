// What heads are measured on: token sequences, and the positions of them whose next token counts.
// Pure: the same seed gives the same sequences.
//
// A head that reads far only matters where something far away is worth reading. So a measured text
// is half a text of the user's and then the same again, and some prompts plant a fact in it and ask
// for it at the end, the answer following.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/needle.h"

namespace headlong {

struct CopiedToken {
  int64_t row = 0;
  int64_t position = 0;
};

struct MeasuredSequence {
  std::vector<uint32_t> ids;
  std::vector<uint32_t> positions;  // ascending
};

// A prompt that asks for what it planted, the answers following; and of every token of an answer
// the position before it and those of the same token in its fact.
struct CopyingPrompt {
  std::vector<uint32_t> ids;
  std::vector<CopiedToken> copies;  // rising rows
  int rows = 0;                     // different ones
};

// How densely positions may stand: at most `rows` in any `tokens`, as a server takes them.
struct ProbeDensity {
  int rows = 32;
  int tokens = 512;
};

struct TextParams {
  uint64_t seed = 1;
  int64_t length = 1024;
  int needles = 3;
};

// A text to choose by, and another one to judge the choice by.
std::pair<Hay, Hay> Halves(const Hay& text);

// A repeated text and a prompt with `needles` facts, each of `length` tokens or, with later
// questions and answers, some more. INVALID_ARGUMENT when the text is too short to make them of.
absl::StatusOr<std::vector<MeasuredSequence>> MakeMeasuredText(const Hay& text,
                                                               const TextParams& params,
                                                               const ProbeDensity& density,
                                                               const EncodeText& encode);

// Prompts of about so many tokens each, with a fact at each of the depths, in [0, 1], and questions
// for all of them. Errors as of BuildNeedlePrompt.
absl::StatusOr<std::vector<CopyingPrompt>> MakeCopyingPrompts(const Hay& text, uint64_t seed,
                                                              const std::vector<int64_t>& lengths,
                                                              const std::vector<double>& depths,
                                                              const EncodeText& encode);

// `start`, then `period` ids, drawn from the middle half of the vocabulary, `copies` times
// (RazorAttention: 2,500 ids, 4 times).
std::vector<uint32_t> RepeatedIds(const std::vector<uint32_t>& start,
                                  const std::vector<uint32_t>& ids, int copies);
std::vector<uint32_t> DrawIds(uint64_t seed, int64_t count, int64_t vocab_size);

}  // namespace headlong
