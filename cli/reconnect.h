// A Generate call that outlives its connection: when the server is lost in the middle of an answer,
// the request is sent again with its id, its seed and the tokens that came, as proto/README.md
// describes. Blocks the caller, like RunGeneration.
#pragma once

#include <chrono>
#include <functional>

#include "cli/generation.h"

namespace headlong {

struct ReconnectOptions {
  std::chrono::milliseconds patience{0};    // from the last token to the end of trying; 0: no try
  std::chrono::milliseconds deadline{0};    // of it all; none when zero
  std::function<void(size_t tokens)> lost;  // told once for each loss; may be null
};

// Errors are those of the last try. A request that was never accepted is not sent again.
GenerationResult GenerateAcrossRestarts(Client& client, const v1::GenerateRequest& request,
                                        const GenerationEvents& events,
                                        const ReconnectOptions& options);

// Pure: what asks for the rest of an answer of which `so_far` came.
v1::GenerateRequest RestOf(const v1::GenerateRequest& request, const GenerationResult& so_far);

}  // namespace headlong
