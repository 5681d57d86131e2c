// Cuts a text into words: the pre-tokenizer steps of a tokenizer.json, ready to run. Immutable;
// usable from any thread.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/regex.h"
#include "model/tokenizer_spec.h"

namespace headlong {

// The words of a text. Views point into the text or into `owned`.
struct WordList {
  std::vector<std::string_view> words;
  std::deque<std::string> owned;  // words that a step has changed
};

class PreTokenizer {
 public:
  static absl::StatusOr<PreTokenizer> Create(const std::vector<PreTokenizerStep>& steps);

  // The words of `text` (valid UTF-8), none of them empty. `text` must outlive the list.
  // `at_start`: no added token stands before it.
  absl::StatusOr<WordList> Split(std::string_view text, bool at_start) const;

 private:
  struct Step {
    PreTokenizerStep spec;
    std::optional<Regex> regex;  // kSplit
  };

  std::vector<Step> steps_;
};

// A stretch of a text that a delimiter pattern matched, or that lies between two matches.
struct SplitSegment {
  size_t begin = 0;
  size_t end = 0;
  bool delimiter = false;
};

// What `behavior` leaves of the segments that cover a text in order, as begin and end in it.
std::vector<std::string_view> ApplySplitBehavior(std::string_view text,
                                                 const std::vector<SplitSegment>& segments,
                                                 SplitBehavior behavior);

}  // namespace headlong
