// The normalizer steps of a tokenizer, those of Unicode on ICU. Immutable; usable from any thread.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer_spec.h"

namespace headlong {

// REQUIRES: `pattern` is not empty.
std::string ReplaceAll(std::string_view text, std::string_view pattern, std::string_view by);

class Normalizer {
 public:
  explicit Normalizer(std::vector<NormalizerStep> steps) : steps_(std::move(steps)) {}

  // True when every text is its own normalised form.
  bool is_identity() const { return steps_.empty(); }
  // `at_start`: no added token stands before `text`. REQUIRES: `text` is valid UTF-8. INTERNAL when
  // ICU has no data.
  absl::StatusOr<std::string> Normalize(std::string_view text, bool at_start) const;

 private:
  std::vector<NormalizerStep> steps_;
};

}  // namespace headlong
