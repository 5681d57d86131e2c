#include "cli/needle.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/quantity.h"
#include "cli/table.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr std::array<const char*, 20> kNames{
    "Priya", "Amara", "Bjorn", "Chiara", "Dmitri", "Elena", "Farid", "Greta",   "Hiroshi", "Ingrid",
    "Jamal", "Keiko", "Lucia", "Mateo",  "Nadia",  "Omar",  "Pavel", "Quentin", "Rosa",    "Tomas"};

// How far back from its drawn place a needle moves to stand behind a sentence.
constexpr int64_t kSentenceSearchTokens = 160;

// SplitMix64 (Steele, Lea, Flood 2014): small, the same everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  // In [0, n); the bias of the remainder is below n / 2^64.
  uint64_t Below(uint64_t n) { return Next() % n; }
  double Fraction() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

 private:
  uint64_t state_;
};

struct LengthSummary {
  std::map<double, std::pair<int, int>> by_depth;  // trials, correct
  int trials = 0;
  int correct = 0;
  int64_t cache_bytes = 0;
  int64_t full_cache_bytes = 0;
  double prefill_ms = 0;
};

std::map<int64_t, LengthSummary> Summarise(const std::vector<NeedleOutcome>& outcomes) {
  std::map<int64_t, LengthSummary> lengths;
  for (const NeedleOutcome& outcome : outcomes) {
    LengthSummary& summary = lengths[outcome.length];
    auto& [trials, correct] = summary.by_depth[outcome.depth];
    ++trials;
    correct += outcome.correct;
    ++summary.trials;
    summary.correct += outcome.correct;
    // Answers differ by a few tokens, so sizes differ by a page at most: the largest stands for
    // all.
    summary.cache_bytes = std::max(summary.cache_bytes, outcome.cache_bytes);
    summary.full_cache_bytes = std::max(summary.full_cache_bytes, outcome.full_cache_bytes);
    summary.prefill_ms += outcome.prefill_ms;
  }
  return lengths;
}

double Recall(const LengthSummary& summary) {
  return summary.trials > 0 ? static_cast<double>(summary.correct) / summary.trials : 0;
}

}  // namespace

Needle DrawNeedle(uint64_t seed, int64_t length, int trial, std::optional<double> depth) {
  Random random(seed);
  // Each number is mixed in through a draw, so that neighbours have nothing in common.
  random = Random(random.Next() ^ static_cast<uint64_t>(length));
  random = Random(random.Next() ^ static_cast<uint64_t>(trial));
  Needle needle;
  needle.name = kNames[random.Below(kNames.size())];
  needle.value = absl::StrCat(1000000 + random.Below(9000000));
  needle.hay_offset = random.Next() >> 1;
  const double drawn = random.Fraction();
  needle.depth = depth.value_or(drawn);
  return needle;
}

std::string NeedleSentence(const Needle& needle) {
  return absl::StrCat(" The pass key of ", needle.name, " is ", needle.value, ".");
}

std::string NeedleQuestion(const Needle& needle) {
  return absl::StrCat("\nQuestion: What is the pass key of ", needle.name, "?\nAnswer: ");
}

absl::StatusOr<Hay> ReadHay(const std::string& text, const EncodeText& encode) {
  Hay hay;
  ASSIGN_OR_RETURN(hay.bos, encode("", true));
  ASSIGN_OR_RETURN(hay.tokens, encode(text, false));
  if (hay.tokens.empty()) return absl::InvalidArgumentError("the hay is empty");
  for (const char* sentence : {"it was so.", "was it so?", "it was so!", "so it was.\""}) {
    ASSIGN_OR_RETURN(const std::vector<uint32_t> ids, encode(sentence, false));
    if (!ids.empty()) hay.sentence_ends.insert(ids.back());
  }
  return hay;
}

absl::StatusOr<NeedlePrompt> BuildNeedlePrompt(const Hay& hay, const Needle& needle, int64_t length,
                                               const EncodeText& encode) {
  if (length < kMinNeedleLength) {
    return absl::InvalidArgumentError(
        absl::StrCat("a needle prompt has at least ", kMinNeedleLength, " tokens, not ", length));
  }
  ASSIGN_OR_RETURN(const std::vector<uint32_t> sentence, encode(NeedleSentence(needle), false));
  ASSIGN_OR_RETURN(const std::vector<uint32_t> question, encode(NeedleQuestion(needle), false));
  const int64_t around = static_cast<int64_t>(hay.bos.size() + sentence.size() + question.size());
  const int64_t hay_tokens = length - around;
  if (around > kNeedleTailTokens) {
    return absl::InvalidArgumentError("the tokenizer makes too many tokens of a needle");
  }
  const auto hay_at = [&](int64_t i) {
    return hay.tokens[(needle.hay_offset + static_cast<uint64_t>(i)) % hay.tokens.size()];
  };
  // Hay tokens before the needle: its drawn place, then back to the end of a sentence.
  const int64_t last_start = length - kNeedleTailTokens - static_cast<int64_t>(hay.bos.size());
  int64_t before = std::clamp<int64_t>(
      static_cast<int64_t>(needle.depth * static_cast<double>(last_start)), 0, hay_tokens);
  for (int64_t at = before; at > 0 && at > before - kSentenceSearchTokens; --at) {
    if (!hay.sentence_ends.contains(hay_at(at - 1))) continue;
    before = at;
    break;
  }
  NeedlePrompt prompt;
  prompt.ids = hay.bos;
  for (int64_t i = 0; i < before; ++i) prompt.ids.push_back(hay_at(i));
  prompt.position = static_cast<int64_t>(prompt.ids.size());
  prompt.ids.insert(prompt.ids.end(), sentence.begin(), sentence.end());
  for (int64_t i = before; i < hay_tokens; ++i) prompt.ids.push_back(hay_at(i));
  prompt.ids.insert(prompt.ids.end(), question.begin(), question.end());
  return prompt;
}

bool AnswersNeedle(const std::string& text, const Needle& needle) {
  return text.starts_with(needle.value);
}

OutputJson NeedleJson(const std::vector<NeedleOutcome>& outcomes) {
  OutputJson json;
  json["rows"] = OutputJson::array();
  for (const char* field : {"recall", "cache_bytes", "full_cache_bytes", "prefill_ms"}) {
    json[field] = OutputJson::object();
  }
  for (const auto& [length, summary] : Summarise(outcomes)) {
    for (const auto& [depth, counts] : summary.by_depth) {
      OutputJson row;
      row["length"] = length;
      row["depth"] = depth;
      row["trials"] = counts.first;
      row["correct"] = counts.second;
      json["rows"].push_back(std::move(row));
    }
    const std::string key = absl::StrCat(length);
    json["recall"][key] = Recall(summary);
    json["cache_bytes"][key] = summary.cache_bytes;
    json["full_cache_bytes"][key] = summary.full_cache_bytes;
    json["prefill_ms"][key] = summary.prefill_ms / summary.trials;
  }
  return json;
}

std::string NeedleText(const std::vector<NeedleOutcome>& outcomes) {
  Table table({">tokens", ">trials", ">found", ">recall", ">cache", ">in full", ">share"});
  for (const auto& [length, summary] : Summarise(outcomes)) {
    const double share = summary.full_cache_bytes > 0
                             ? static_cast<double>(summary.cache_bytes) / summary.full_cache_bytes
                             : 1;
    table.Row({FormatCount(length), absl::StrCat(summary.trials), absl::StrCat(summary.correct),
               absl::StrFormat("%.3f", Recall(summary)), FormatBytes(summary.cache_bytes),
               FormatBytes(summary.full_cache_bytes), FormatPercent(share)});
  }
  return table.Text();
}

}  // namespace headlong
