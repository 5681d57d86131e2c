// The normalizer steps of a tokenizer.json, on ICU. Immutable; usable from any thread.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer_spec.h"

namespace headlong {

class Normalizer {
 public:
  explicit Normalizer(std::vector<NormalizerStep> steps) : steps_(std::move(steps)) {}

  // True when every text is its own normalised form.
  bool is_identity() const { return steps_.empty(); }
  // REQUIRES: `text` is valid UTF-8. INTERNAL when ICU has no data.
  absl::StatusOr<std::string> Normalize(std::string_view text) const;

 private:
  std::vector<NormalizerStep> steps_;
};

}  // namespace headlong
