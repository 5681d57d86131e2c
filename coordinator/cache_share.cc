#include "coordinator/cache_share.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_format.h"
#include "common/status.h"
#include "coordinator/client_limits.h"
#include "coordinator/retry_hint.h"

namespace headlong {
namespace {

// Of each class of pages, 0 to 1 and beyond.
std::vector<double> SharesOf(const Request& request, const PageBudget& budget) {
  const std::vector<int64_t> pages =
      budget.Demand(request.prompt_length + request.max_tokens, request.original_prompt_tokens);
  std::vector<double> shares;
  for (size_t i = 0; i < pages.size(); ++i) {
    const auto all = static_cast<double>(std::max<int64_t>(budget.limits()[i].pages, 1));
    shares.push_back(static_cast<double>(pages[i]) / all);
  }
  return shares;
}

double Largest(const std::vector<double>& shares) {
  return shares.empty() ? 0 : *std::max_element(shares.begin(), shares.end());
}

}  // namespace

absl::Status CheckCacheShare(const Request& request, const std::map<uint64_t, LiveRequest>& running,
                             const PageBudget& budget) {
  const double most = request.caller.limits.cache_share;
  if (most <= 0) return absl::OkStatus();
  std::vector<double> shares = SharesOf(request, budget);
  const double alone = Largest(shares);
  if (alone > most) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "the request may come to hold %.1f %% of the caches, this access token's at most %.1f %%: "
        "fewer max_tokens or a shorter prompt",
        100 * alone, 100 * most));
  }
  for (const auto& [id, live] : running) {
    if (live.request.caller.name != request.caller.name) continue;
    const std::vector<double> other = SharesOf(live.request, budget);
    for (size_t i = 0; i < shares.size(); ++i) shares[i] += other[i];
  }
  if (Largest(shares) <= most) return absl::OkStatus();
  return TryAgain(
      absl::StrFormat("with this request %.1f %% of the caches would be this access token's, "
                      "which may hold %.1f %%",
                      100 * Largest(shares), 100 * most),
      ClientLimits::kRetryAfter);
}

}  // namespace headlong
