// Needle prompts: facts planted in a long text and a question about them, as exact numbers of
// tokens; and what came of them. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/json_output.h"
#include "cli/needle_tasks.h"
#include "coordinator/calibration/evidence_json.h"

namespace headlong {

inline constexpr int64_t kNeedleTailTokens =
    512;  // no needle in the last ones: a window holds them
inline constexpr int64_t kMinNeedleLength = 768;

struct Hay {
  std::vector<uint32_t> bos;         // what the tokenizer puts in front of a text
  std::vector<uint32_t> tokens;      // of the whole text
  std::set<uint32_t> sentence_ends;  // tokens after which a sentence may be planted
};

// Encodes without special tokens unless told.
using EncodeText =
    std::function<absl::StatusOr<std::vector<uint32_t>>(const std::string& text, bool special)>;

absl::StatusOr<Hay> ReadHay(const std::string& text, const EncodeText& encode);

struct NeedlePrompt {
  std::vector<uint32_t> ids;       // exactly `length`
  std::vector<int64_t> positions;  // of the first token of each plant
};

// INVALID_ARGUMENT when `length` is under kMinNeedleLength or does not hold the parts.
absl::StatusOr<NeedlePrompt> BuildNeedlePrompt(const Hay& hay, const NeedleCase& asked,
                                               int64_t length, const EncodeText& encode);

// A prompt of the user's own and what must stand in its answer.
struct OwnPrompt {
  std::string prompt;
  NeedleCase asked;  // no plants
};
// One {"prompt", "answer": text or list of texts, "max_tokens"} per line; empty lines are skipped.
// INVALID_ARGUMENT names the source, the line's number and the field.
absl::StatusOr<std::vector<OwnPrompt>> ParseOwnPrompts(std::string_view text,
                                                       std::string_view source);
// The power of two that a prompt of so many tokens is counted under, at least 256.
int64_t LengthBucket(int64_t prompt_tokens);

struct NeedleOutcome {
  int64_t length = 0;
  double depth = 0;  // of the row it is counted in; below 0: not known
  double score = 0;  // ScoreAnswer
  int64_t cache_bytes = 0;
  int64_t full_cache_bytes = 0;
  double prefill_ms = 0;

  bool correct() const { return score >= 1; }
};

// DESIGN section 12, `bench needle`: rows by length and depth; also the task and, by length, the
// mean score.
OutputJson NeedleJson(const std::vector<NeedleOutcome>& outcomes, const std::string& task);
std::string NeedleText(const std::vector<NeedleOutcome>& outcomes);
// Rows for a picture.
std::vector<RecallCell> NeedleCells(const std::vector<NeedleOutcome>& outcomes);

}  // namespace headlong
