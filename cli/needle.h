// Needle prompts: a fact planted in a long text and a question about it, as exact numbers of
// tokens. Pure: the same seed gives the same needles for every plan, on every machine.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/json_output.h"

namespace headlong {

inline constexpr int64_t kNeedleTailTokens =
    512;  // no needle in the last ones: a window holds them
inline constexpr int64_t kMinNeedleLength = 768;

// What is planted in one trial, and where.
struct Needle {
  std::string name;
  std::string value;        // seven digits, the first not 0
  uint64_t hay_offset = 0;  // where the hay of this trial begins; taken modulo its size
  double depth = 0;         // in [0, 1], of the length without its tail
};

// `depth`: drawn when absent. Trials of one (seed, length) differ in everything.
Needle DrawNeedle(uint64_t seed, int64_t length, int trial, std::optional<double> depth);

std::string NeedleSentence(const Needle& needle);
std::string NeedleQuestion(const Needle& needle);  // ends where the answer begins

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
  std::vector<uint32_t> ids;  // exactly `length`
  int64_t position = 0;       // of the needle's first token
};

// INVALID_ARGUMENT when `length` is under kMinNeedleLength or does not hold the parts.
absl::StatusOr<NeedlePrompt> BuildNeedlePrompt(const Hay& hay, const Needle& needle, int64_t length,
                                               const EncodeText& encode);

bool AnswersNeedle(const std::string& text, const Needle& needle);

struct NeedleOutcome {
  int64_t length = 0;
  double depth = 0;  // of the row it is counted in
  bool correct = false;
  int64_t cache_bytes = 0;
  int64_t full_cache_bytes = 0;
  double prefill_ms = 0;
};

// DESIGN section 12, `bench needle`: rows by length and depth.
OutputJson NeedleJson(const std::vector<NeedleOutcome>& outcomes);
std::string NeedleText(const std::vector<NeedleOutcome>& outcomes);

}  // namespace headlong
