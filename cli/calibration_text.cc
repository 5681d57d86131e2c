#include "cli/calibration_text.h"

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace headlong {
namespace {

// Half a text and the same again; of the second half, rows as dense as they may be.
absl::StatusOr<MeasuredSequence> RepeatedText(const Hay& text, const TextParams& params,
                                              const ProbeDensity& density) {
  const int64_t bos = std::ssize(text.bos);
  const int64_t half = (params.length - bos) / 2;
  if (std::ssize(text.tokens) < half || half < density.tokens) {
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
  const int step = density.tokens / density.rows;
  for (int64_t position = bos + half + step; position + 1 < std::ssize(sequence.ids);
       position += step) {
    sequence.positions.push_back(static_cast<uint32_t>(position));
  }
  return sequence;
}

// A prompt that asks for what it planted, and the answer: its tokens count.
absl::StatusOr<MeasuredSequence> AnsweredNeedle(const Hay& text, const TextParams& params,
                                                int number, const ProbeDensity& density,
                                                const EncodeText& encode) {
  const NeedleCase asked =
      DrawCase(NeedleTask::kPasskey, {params.seed, params.length, number, std::nullopt});
  ASSIGN_OR_RETURN(const NeedlePrompt prompt,
                   BuildNeedlePrompt(text, asked, params.length, encode));
  ASSIGN_OR_RETURN(const std::vector<uint32_t> answer,
                   encode(asked.answers.front(), /*special=*/false));
  MeasuredSequence sequence;
  sequence.ids = prompt.ids;
  const size_t counted = std::min(answer.size(), static_cast<size_t>(density.rows));
  for (size_t i = 0; i < counted; ++i) {
    sequence.positions.push_back(static_cast<uint32_t>(sequence.ids.size() - 1));
    sequence.ids.push_back(answer[i]);
  }
  return sequence;
}

}  // namespace

absl::StatusOr<std::vector<MeasuredSequence>> MakeMeasuredText(const Hay& text,
                                                               const TextParams& params,
                                                               const ProbeDensity& density,
                                                               const EncodeText& encode) {
  std::vector<MeasuredSequence> sequences(1);
  ASSIGN_OR_RETURN(sequences[0], RepeatedText(text, params, density));
  for (int number = 0; number < params.needles; ++number) {
    ASSIGN_OR_RETURN(sequences.emplace_back(),
                     AnsweredNeedle(text, params, number, density, encode));
  }
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
