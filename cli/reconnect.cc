#include "cli/reconnect.h"

#include <algorithm>
#include <utility>

#include "cli/interrupt.h"

namespace headlong {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kBetweenTries{200};
constexpr milliseconds kForAConnection{500};
constexpr milliseconds kWorthATry{500};  // before the deadline

// A new server, or the old one over a new connection, may go on with it. ALREADY_EXISTS: the old
// one has not noticed yet that the first connection is gone.
bool MayGoOn(const absl::Status& error) {
  return absl::IsUnavailable(error) || absl::IsAlreadyExists(error);
}

// What came of another try joins what came before.
void Append(GenerationResult more, GenerationResult& result) {
  if (!more.id.empty()) result.id = std::move(more.id);
  result.text += more.text;
  result.token_ids.insert(result.token_ids.end(), more.token_ids.begin(), more.token_ids.end());
  result.logprobs.insert(result.logprobs.end(), more.logprobs.begin(), more.logprobs.end());
  if (more.prompt_tokens > 0) {
    result.prompt_tokens = more.prompt_tokens;
    result.seed = more.seed;
  }
  result.finished = std::move(more.finished);
  result.error = std::move(more.error);
}

}  // namespace

v1::GenerateRequest RestOf(const v1::GenerateRequest& request, const GenerationResult& so_far) {
  v1::GenerateRequest rest = request;
  rest.set_request_id(so_far.id);
  rest.set_seed(so_far.seed);
  rest.mutable_resume_token_ids()->Add(so_far.token_ids.begin(), so_far.token_ids.end());
  return rest;
}

GenerationResult GenerateAcrossRestarts(Client& client, const v1::GenerateRequest& request,
                                        const GenerationEvents& events,
                                        const ReconnectOptions& options) {
  const Clock::time_point begin = Clock::now();
  const auto left = [&] {  // never 0, which would be no deadline
    const auto passed = std::chrono::duration_cast<milliseconds>(Clock::now() - begin);
    return options.deadline.count() == 0 ? milliseconds(0)
                                         : std::max(options.deadline - passed, milliseconds(1));
  };
  GenerationResult result = RunGeneration(client, request, events, left());
  const bool accepted = result.prompt_tokens > 0;
  Clock::time_point last_token = Clock::now();
  size_t told = SIZE_MAX;  // tokens there were at the loss that was told last
  while (accepted && MayGoOn(result.error) && !Interrupted() &&
         Clock::now() - last_token < options.patience) {
    // What the server says at a deadline is why it did not answer.
    if (options.deadline.count() > 0 && left() < kWorthATry) break;
    if (options.lost && told != result.token_ids.size()) options.lost(result.token_ids.size());
    told = result.token_ids.size();
    if (!SleepUnlessInterrupted(kBetweenTries)) break;
    client.AwaitConnection(kForAConnection);
    GenerationResult more = RunGeneration(client, RestOf(request, result), events, left());
    if (!more.token_ids.empty()) last_token = Clock::now();
    Append(std::move(more), result);
  }
  return result;
}

}  // namespace headlong
