#include "cli/calibration_text.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr int64_t kMostRows = 256;  // of one text: 128 MiB to keep for 128K tokens

// Half a text and the same again; of the second half, rows as dense as they may be.
absl::StatusOr<MeasuredSequence> RepeatedText(const Hay& text, const TextParams& params,
                                              const ProbeDensity& density) {
  const int64_t bos = std::ssize(text.bos);
  const int64_t half = (params.length - bos) / 2;
  const int64_t step = std::max<int64_t>(density.tokens / density.rows, half / kMostRows);
  if (std::ssize(text.tokens) < half || half < 2 * step) {
    return absl::InvalidArgumentError(absl::StrCat("the text: ", text.tokens.size(),
                                                   " tokens are too few to measure sequences of ",
                                                   params.length, " tokens"));
  }
  std::mt19937_64 random(params.seed);
  const int64_t begin =
      static_cast<int64_t>(random() % static_cast<uint64_t>(std::ssize(text.tokens) - half + 1));
  MeasuredSequence sequence;
  sequence.ids = text.bos;
  for (int copy = 0; copy < 2; ++copy) {
    sequence.ids.insert(sequence.ids.end(), text.tokens.begin() + begin,
                        text.tokens.begin() + begin + half);
  }
  for (int64_t position = bos + half + step; position + 1 < std::ssize(sequence.ids);
       position += step) {
    sequence.positions.push_back(static_cast<uint32_t>(position));
  }
  return sequence;
}

// Facts about different people, and their questions.
std::vector<NeedleCase> DrawFacts(const TextParams& params) {
  std::vector<NeedleCase> facts;
  for (int trial = 0; std::ssize(facts) < params.needles; ++trial) {
    NeedleCase drawn =
        DrawCase(NeedleTask::kPasskey, {params.seed, params.length, trial, std::nullopt});
    const bool asked = std::any_of(facts.begin(), facts.end(), [&](const NeedleCase& other) {
      return other.question == drawn.question;
    });
    if (!asked) facts.push_back(std::move(drawn));
  }
  return facts;
}

// A prompt that asks for what it planted, fact after fact, with the answers.
struct AskedFacts {
  std::vector<uint32_t> ids;
  std::vector<uint32_t> rows;      // positions before the tokens of answers
  std::vector<size_t> facts;       // of each row, which fact it answers
  std::vector<int64_t> positions;  // of the first token of each fact
};

absl::StatusOr<AskedFacts> AskFacts(const Hay& text, const std::vector<NeedleCase>& facts,
                                    int64_t length, const EncodeText& encode) {
  std::vector<size_t> order(facts.size());  // of the facts by depth
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return facts[a].plants.front().depth < facts[b].plants.front().depth;
  });
  NeedleCase all = facts.front();
  all.plants.clear();
  for (const size_t fact : order) all.plants.push_back(facts[fact].plants.front());
  ASSIGN_OR_RETURN(NeedlePrompt prompt, BuildNeedlePrompt(text, all, length, encode));
  AskedFacts asked;
  asked.ids = std::move(prompt.ids);
  asked.positions.resize(facts.size());
  for (size_t i = 0; i < order.size(); ++i) asked.positions[order[i]] = prompt.positions[i];
  for (size_t fact = 0; fact < facts.size(); ++fact) {
    if (fact > 0) {
      ASSIGN_OR_RETURN(const std::vector<uint32_t> question, encode(facts[fact].question, false));
      asked.ids.insert(asked.ids.end(), question.begin(), question.end());
    }
    ASSIGN_OR_RETURN(const std::vector<uint32_t> answer,
                     encode(facts[fact].answers.front(), false));
    for (const uint32_t id : answer) {
      asked.rows.push_back(static_cast<uint32_t>(asked.ids.size() - 1));
      asked.facts.push_back(fact);
      asked.ids.push_back(id);
    }
  }
  return asked;
}

// The answers' tokens count.
absl::StatusOr<MeasuredSequence> AnsweredNeedles(const Hay& text, const TextParams& params,
                                                 const ProbeDensity& density,
                                                 const EncodeText& encode) {
  ASSIGN_OR_RETURN(AskedFacts asked, AskFacts(text, DrawFacts(params), params.length, encode));
  MeasuredSequence sequence;
  sequence.ids = std::move(asked.ids);
  sequence.positions = std::move(asked.rows);
  const auto most = static_cast<size_t>(density.rows);
  sequence.positions.resize(std::min(sequence.positions.size(), most));
  return sequence;
}

}  // namespace

std::pair<Hay, Hay> Halves(const Hay& text) {
  const auto middle = text.tokens.begin() + std::ssize(text.tokens) / 2;
  return {{text.bos, {text.tokens.begin(), middle}, text.sentence_ends},
          {text.bos, {middle, text.tokens.end()}, text.sentence_ends}};
}

absl::StatusOr<std::vector<MeasuredSequence>> MakeMeasuredText(const Hay& text,
                                                               const TextParams& params,
                                                               const ProbeDensity& density,
                                                               const EncodeText& encode) {
  std::vector<MeasuredSequence> sequences(2);
  ASSIGN_OR_RETURN(sequences[0], RepeatedText(text, params, density));
  ASSIGN_OR_RETURN(sequences[1], AnsweredNeedles(text, params, density, encode));
  return sequences;
}

absl::StatusOr<std::vector<CopyingPrompt>> MakeCopyingPrompts(const Hay& text, uint64_t seed,
                                                              const std::vector<int64_t>& lengths,
                                                              const std::vector<double>& depths,
                                                              const EncodeText& encode) {
  std::vector<CopyingPrompt> prompts;
  for (const int64_t length : lengths) {
    std::vector<NeedleCase> facts = DrawFacts({seed, length, static_cast<int>(depths.size())});
    for (size_t i = 0; i < facts.size(); ++i) facts[i].plants.front().depth = depths[i];
    ASSIGN_OR_RETURN(const AskedFacts asked, AskFacts(text, facts, length, encode));
    CopyingPrompt& prompt = prompts.emplace_back();
    prompt.ids = asked.ids;
    for (size_t i = 0; i < asked.rows.size(); ++i) {
      const std::string& planted = facts[asked.facts[i]].plants.front().text;
      ASSIGN_OR_RETURN(const std::vector<uint32_t> fact, encode(planted, false));
      const int64_t begin = asked.positions[asked.facts[i]];
      const size_t before = prompt.copies.size();
      for (int64_t at = begin; at < begin + std::ssize(fact); ++at) {
        const bool same = asked.ids[static_cast<size_t>(at)] == asked.ids[asked.rows[i] + 1];
        if (same) prompt.copies.push_back({asked.rows[i], at});
      }
      prompt.rows += prompt.copies.size() > before;
    }
  }
  return prompts;
}

std::vector<uint32_t> DrawIds(uint64_t seed, int64_t count, int64_t vocab_size) {
  std::mt19937_64 random(seed);
  const uint64_t middle = static_cast<uint64_t>(std::max<int64_t>(vocab_size / 2, 1));
  std::vector<uint32_t> ids(static_cast<size_t>(count));
  for (uint32_t& id : ids) {
    id = static_cast<uint32_t>(static_cast<uint64_t>(vocab_size) / 4 + random() % middle);
  }
  return ids;
}

std::vector<uint32_t> RepeatedIds(const std::vector<uint32_t>& start,
                                  const std::vector<uint32_t>& ids, int copies) {
  std::vector<uint32_t> repeated = start;
  for (int copy = 0; copy < copies; ++copy) {
    repeated.insert(repeated.end(), ids.begin(), ids.end());
  }
  return repeated;
}

}  // namespace headlong
