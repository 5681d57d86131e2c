// Tokens of needle-10m's golden prompts, one after another and over again. For tests.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/json.h"
#include "common/status.h"
#include "tests/support/paths.h"

namespace headlong {

inline absl::StatusOr<std::vector<uint32_t>> GoldenPromptTokens(size_t count) {
  ASSIGN_OR_RETURN(const Json prompts, ReadJsonFile(GoldenPath("needle-10m.transformers.json")));
  std::vector<uint32_t> tokens;
  while (tokens.size() < count) {
    for (const Json& prompt : prompts) {
      for (const uint32_t token : prompt["prompt_ids"]) tokens.push_back(token);
    }
  }
  tokens.resize(count);
  return tokens;
}

}  // namespace headlong
