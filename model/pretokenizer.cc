#include "model/pretokenizer.h"

#include <algorithm>
#include <utility>

#include "common/status.h"
#include "model/normalizer.h"
#include "model/utf8.h"

namespace headlong {
namespace {

// All of `text` as alternating matches and gaps. An empty match right behind another match does not
// count, as in Oniguruma's scan.
absl::StatusOr<std::vector<SplitSegment>> FindSegments(RegexMatcher* matcher, std::string_view text,
                                                       bool invert) {
  std::vector<SplitSegment> segments;
  size_t covered = 0;
  size_t from = 0;
  bool matched = false;
  while (from <= text.size()) {
    ASSIGN_OR_RETURN(const std::optional<RegexMatcher::Range> match, matcher->Find(text, from));
    if (!match.has_value()) break;
    const bool empty = match->begin == match->end;
    if (!empty || !matched || match->begin != covered) {
      if (covered != match->begin) segments.push_back({covered, match->begin, invert});
      segments.push_back({match->begin, match->end, !invert});
      covered = match->end;
      matched = true;
    }
    from = match->end;
    if (empty) {
      from += from < text.size() ? ReadUtf8Front(text.substr(from)).bytes : 1;
    }
  }
  if (covered != text.size()) segments.push_back({covered, text.size(), invert});
  return segments;
}

// Joins a delimiter to the segment that was visited before it, once: of two delimiters in a row
// the second stands alone. Visited backwards, that is the segment behind it.
template <typename Iterator>
std::vector<SplitSegment> MergeDelimiters(Iterator first, Iterator last) {
  std::vector<SplitSegment> merged;
  bool after_delimiter = false;
  for (; first != last; ++first) {
    if (first->delimiter && !after_delimiter && !merged.empty()) {
      merged.back().begin = std::min(merged.back().begin, first->begin);
      merged.back().end = std::max(merged.back().end, first->end);
    } else {
      merged.push_back(*first);
    }
    after_delimiter = first->delimiter;
  }
  return merged;
}

std::vector<SplitSegment> JoinEqualNeighbours(const std::vector<SplitSegment>& segments) {
  std::vector<SplitSegment> joined;
  for (const SplitSegment& segment : segments) {
    if (!joined.empty() && joined.back().delimiter == segment.delimiter) {
      joined.back().end = segment.end;
    } else {
      joined.push_back(segment);
    }
  }
  return joined;
}

// Spaces of a word as the visible character that stands for them, with one in front unless one is
// there already.
std::string Metaspace(const PreTokenizerStep& step, std::string_view word, bool first) {
  std::string replaced = ReplaceAll(word, " ", step.pattern);
  const bool wanted = step.prefix == PreTokenizerStep::Prefix::kAlways ||
                      (step.prefix == PreTokenizerStep::Prefix::kFirst && first);
  if (wanted && !replaced.starts_with(step.pattern)) replaced.insert(0, step.pattern);
  return replaced;
}

}  // namespace

std::vector<std::string_view> ApplySplitBehavior(std::string_view text,
                                                 const std::vector<SplitSegment>& segments,
                                                 SplitBehavior behavior) {
  std::vector<SplitSegment> kept;
  switch (behavior) {
    case SplitBehavior::kIsolated:
      kept = segments;
      break;
    case SplitBehavior::kRemoved:
      for (const SplitSegment& segment : segments) {
        if (!segment.delimiter) kept.push_back(segment);
      }
      break;
    case SplitBehavior::kContiguous:
      kept = JoinEqualNeighbours(segments);
      break;
    case SplitBehavior::kMergedWithPrevious:
      kept = MergeDelimiters(segments.begin(), segments.end());
      break;
    case SplitBehavior::kMergedWithNext:
      kept = MergeDelimiters(segments.rbegin(), segments.rend());
      std::reverse(kept.begin(), kept.end());
      break;
  }
  std::vector<std::string_view> words;
  words.reserve(kept.size());
  for (const SplitSegment& segment : kept) {
    if (segment.end > segment.begin) {
      words.push_back(text.substr(segment.begin, segment.end - segment.begin));
    }
  }
  return words;
}

absl::StatusOr<PreTokenizer> PreTokenizer::Create(const std::vector<PreTokenizerStep>& steps) {
  PreTokenizer pre_tokenizer;
  for (const PreTokenizerStep& spec : steps) {
    Step step{spec, std::nullopt};
    if (spec.kind == PreTokenizerStep::Kind::kSplit) {
      auto regex = Regex::Compile(spec.pattern);
      if (!regex.ok()) return Annotate(regex.status(), "pre_tokenizer");
      step.regex = *std::move(regex);
    }
    pre_tokenizer.steps_.push_back(std::move(step));
  }
  return pre_tokenizer;
}

absl::StatusOr<WordList> PreTokenizer::Split(std::string_view text, bool at_start) const {
  WordList list;
  if (!text.empty()) list.words.push_back(text);
  for (const Step& step : steps_) {
    if (step.spec.kind == PreTokenizerStep::Kind::kMetaspace) {
      for (size_t i = 0; i < list.words.size(); ++i) {
        list.owned.push_back(Metaspace(step.spec, list.words[i], at_start && i == 0));
        list.words[i] = list.owned.back();
      }
      continue;
    }
    if (step.spec.kind == PreTokenizerStep::Kind::kPrefixSpace) {
      for (std::string_view& word : list.words) {
        if (word.starts_with(' ')) continue;
        list.owned.push_back(absl::StrCat(" ", Av(word)));
        word = list.owned.back();
      }
      continue;
    }
    RegexMatcher matcher(*step.regex);
    std::vector<std::string_view> words;
    for (const std::string_view word : list.words) {
      ASSIGN_OR_RETURN(const auto segments, FindSegments(&matcher, word, step.spec.invert));
      const auto parts = ApplySplitBehavior(word, segments, step.spec.behavior);
      words.insert(words.end(), parts.begin(), parts.end());
    }
    list.words = std::move(words);
  }
  return list;
}

}  // namespace headlong
