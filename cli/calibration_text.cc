#include "cli/calibration_text.h"

#include <algorithm>
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

// A prompt that asks for what it planted, fact after fact, and the answers: their tokens count.
absl::StatusOr<MeasuredSequence> AnsweredNeedles(const Hay& text, const TextParams& params,
                                                 const ProbeDensity& density,
                                                 const EncodeText& encode) {
  const std::vector<NeedleCase> facts = DrawFacts(params);
  NeedleCase all = facts.front();
  for (size_t i = 1; i < facts.size(); ++i) all.plants.push_back(facts[i].plants.front());
  std::stable_sort(all.plants.begin(), all.plants.end(),
                   [](const Plant& a, const Plant& b) { return a.depth < b.depth; });
  ASSIGN_OR_RETURN(NeedlePrompt prompt, BuildNeedlePrompt(text, all, params.length, encode));
  MeasuredSequence sequence;
  sequence.ids = std::move(prompt.ids);
  for (const NeedleCase& fact : facts) {
    if (&fact != &facts.front()) {
      ASSIGN_OR_RETURN(const std::vector<uint32_t> question, encode(fact.question, false));
      sequence.ids.insert(sequence.ids.end(), question.begin(), question.end());
    }
    ASSIGN_OR_RETURN(const std::vector<uint32_t> answer, encode(fact.answers.front(), false));
    for (const uint32_t id : answer) {
      if (std::ssize(sequence.positions) < density.rows) {
        sequence.positions.push_back(static_cast<uint32_t>(sequence.ids.size() - 1));
      }
      sequence.ids.push_back(id);
    }
  }
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
