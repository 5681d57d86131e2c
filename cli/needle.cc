#include "cli/needle.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "cli/quantity.h"
#include "cli/table.h"
#include "common/json.h"
#include "common/status.h"

namespace headlong {
namespace {

// How far back from its drawn place a needle moves to stand behind a sentence.
constexpr int64_t kSentenceSearchTokens = 160;
constexpr int64_t kLeastBucket = 256;
constexpr int kOwnAnswerTokens = 64;

struct LengthSummary {
  std::map<double, std::pair<int, int>> by_depth;  // trials, correct
  int trials = 0;
  int correct = 0;
  double score = 0;
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
    correct += outcome.correct();
    ++summary.trials;
    summary.correct += outcome.correct();
    summary.score += outcome.score;
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

// Where in the hay of a trial something is planted: its drawn place, then back to the end of a
// sentence.
int64_t PlaceInHay(const Hay& hay, uint64_t offset, int64_t drawn, int64_t earliest) {
  for (int64_t at = drawn; at > earliest && at > drawn - kSentenceSearchTokens; --at) {
    const uint64_t before = (offset + static_cast<uint64_t>(at - 1)) % hay.tokens.size();
    if (hay.sentence_ends.contains(hay.tokens[before])) return at;
  }
  return drawn;
}

absl::StatusOr<OwnPrompt> ParseOwnPrompt(absl::string_view line, const std::string& where) {
  ASSIGN_OR_RETURN(const Json json, ParseJson({line.data(), line.size()}, where));
  RETURN_IF_ERROR(JsonOnlyFields(json, {"prompt", "answer", "max_tokens"}, where));
  OwnPrompt own;
  ASSIGN_OR_RETURN(own.prompt, JsonString(json, "prompt", where));
  own.asked.anywhere = true;
  own.asked.answer_tokens = kOwnAnswerTokens;
  if (json.contains("max_tokens")) {
    ASSIGN_OR_RETURN(const int64_t tokens, JsonInt(json, "max_tokens", 1, 1 << 20, where));
    own.asked.answer_tokens = static_cast<int>(tokens);
  }
  const auto answer = json.find("answer");
  const bool list = answer != json.end() && answer->is_array();
  for (const Json& one : list ? *answer : Json::array({answer == json.end() ? Json() : *answer})) {
    if (!one.is_string() || one.get_ref<const std::string&>().empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          where, ": answer: must be a text or a list of texts, none empty, is ", JsonExcerpt(one)));
    }
    own.asked.answers.push_back(one.get<std::string>());
  }
  if (own.asked.answers.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": answer: the list is empty"));
  }
  return own;
}

}  // namespace

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

absl::StatusOr<NeedlePrompt> BuildNeedlePrompt(const Hay& hay, const NeedleCase& asked,
                                               int64_t length, const EncodeText& encode) {
  if (length < kMinNeedleLength) {
    return absl::InvalidArgumentError(
        absl::StrCat("a needle prompt has at least ", kMinNeedleLength, " tokens, not ", length));
  }
  ASSIGN_OR_RETURN(const std::vector<uint32_t> question, encode(asked.question, false));
  std::vector<std::vector<uint32_t>> plants;
  int64_t around = static_cast<int64_t>(hay.bos.size() + question.size());
  for (const Plant& plant : asked.plants) {
    ASSIGN_OR_RETURN(std::vector<uint32_t> ids, encode(plant.text, false));
    around += static_cast<int64_t>(ids.size());
    plants.push_back(std::move(ids));
  }
  if (around > kNeedleTailTokens) {
    return absl::InvalidArgumentError("the tokenizer makes too many tokens of a needle");
  }
  const int64_t hay_tokens = length - around;
  const int64_t last_start = length - kNeedleTailTokens - static_cast<int64_t>(hay.bos.size());
  // Nothing may push the last plant into the tail.
  int64_t latest = last_start;
  for (size_t i = 0; i + 1 < plants.size(); ++i) latest -= static_cast<int64_t>(plants[i].size());
  NeedlePrompt prompt;
  prompt.ids = hay.bos;
  int64_t taken = 0;  // hay tokens so far
  const auto take_hay = [&](int64_t end) {
    for (; taken < end; ++taken) {
      prompt.ids.push_back(
          hay.tokens[(asked.hay_offset + static_cast<uint64_t>(taken)) % hay.tokens.size()]);
    }
  };
  int64_t planted = 0;  // tokens of earlier plants
  for (size_t i = 0; i < plants.size(); ++i) {
    const double place = asked.plants[i].depth * static_cast<double>(last_start);
    const int64_t drawn = std::clamp<int64_t>(
        std::min(static_cast<int64_t>(place) - planted, latest), taken, hay_tokens);
    take_hay(PlaceInHay(hay, asked.hay_offset, drawn, taken));
    prompt.positions.push_back(static_cast<int64_t>(prompt.ids.size()));
    prompt.ids.insert(prompt.ids.end(), plants[i].begin(), plants[i].end());
    planted += static_cast<int64_t>(plants[i].size());
  }
  take_hay(hay_tokens);
  prompt.ids.insert(prompt.ids.end(), question.begin(), question.end());
  return prompt;
}

absl::StatusOr<std::vector<OwnPrompt>> ParseOwnPrompts(std::string_view text,
                                                       std::string_view source) {
  std::vector<OwnPrompt> prompts;
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(Av(text), '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    ASSIGN_OR_RETURN(OwnPrompt own,
                     ParseOwnPrompt(line, absl::StrCat(Av(source), ": line ", number)));
    prompts.push_back(std::move(own));
  }
  if (!prompts.empty()) return prompts;
  return absl::InvalidArgumentError(absl::StrCat(Av(source), ": has no prompts"));
}

int64_t LengthBucket(int64_t prompt_tokens) {
  int64_t bucket = kLeastBucket;
  while (bucket < prompt_tokens) bucket *= 2;
  return bucket;
}

OutputJson NeedleJson(const std::vector<NeedleOutcome>& outcomes, const std::string& task) {
  OutputJson json;
  json["task"] = task;
  json["rows"] = OutputJson::array();
  for (const char* field : {"recall", "score", "cache_bytes", "full_cache_bytes", "prefill_ms"}) {
    json[field] = OutputJson::object();
  }
  for (const auto& [length, summary] : Summarise(outcomes)) {
    for (const auto& [depth, counts] : summary.by_depth) {
      OutputJson row;
      row["length"] = length;
      row["depth"] = depth < 0 ? OutputJson() : OutputJson(depth);
      row["trials"] = counts.first;
      row["correct"] = counts.second;
      json["rows"].push_back(std::move(row));
    }
    const std::string key = absl::StrCat(length);
    json["recall"][key] = Recall(summary);
    json["score"][key] = summary.score / summary.trials;
    json["cache_bytes"][key] = summary.cache_bytes;
    json["full_cache_bytes"][key] = summary.full_cache_bytes;
    json["prefill_ms"][key] = summary.prefill_ms / summary.trials;
  }
  return json;
}

std::string NeedleText(const std::vector<NeedleOutcome>& outcomes) {
  Table table(
      {">tokens", ">trials", ">found", ">recall", ">score", ">cache", ">in full", ">share"});
  for (const auto& [length, summary] : Summarise(outcomes)) {
    const double share = summary.full_cache_bytes > 0
                             ? static_cast<double>(summary.cache_bytes) / summary.full_cache_bytes
                             : 1;
    table.Row({FormatCount(length), absl::StrCat(summary.trials), absl::StrCat(summary.correct),
               absl::StrFormat("%.3f", Recall(summary)),
               absl::StrFormat("%.3f", summary.score / summary.trials),
               FormatBytes(summary.cache_bytes), FormatBytes(summary.full_cache_bytes),
               FormatPercent(share)});
  }
  return table.Text();
}

std::vector<RecallCell> NeedleCells(const std::vector<NeedleOutcome>& outcomes) {
  std::vector<RecallCell> cells;
  for (const auto& [length, summary] : Summarise(outcomes)) {
    for (const auto& [depth, counts] : summary.by_depth) {
      cells.push_back({length, depth, counts.first, counts.second});
    }
  }
  return cells;
}

}  // namespace headlong
