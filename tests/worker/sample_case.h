// Tests of drawing tokens that run on every device: random rows against a sampler written straight
// from the definition in kernels/token_draw.h, and frequencies against the exact distribution.
#pragma once

#include <functional>
#include <vector>

#include "worker/kernels/token_draw.h"

namespace headlong {

// Draws a token of each row. logits: part by part [rows][columns of the part].
using DrawTokens = std::function<std::vector<uint32_t>(const std::vector<float>& logits,
                                                       const std::vector<int>& columns,
                                                       const std::vector<TokenDraw>& draws)>;

// Expectations of Google Test.
void ExpectTokensOfRandomRows(const DrawTokens& draw_tokens);
void ExpectTokensOfEdgeCases(const DrawTokens& draw_tokens);
void ExpectExactFrequencies(const DrawTokens& draw_tokens);

}  // namespace headlong
