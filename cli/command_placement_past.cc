// `placement history|explain`: how the placement in force came to be, and why it is as it is.
#include "cli/admin_verb.h"
#include "cli/epochs_output.h"
#include "cli/placement_explain.h"
#include "common/status.h"

namespace headlong {
namespace {

ExitCode ShowHistory(const AdminFlags& flags, Terminal&) {
  return PrintAnswer(flags, [](Client& client) -> absl::StatusOr<AdminView> {
    ASSIGN_OR_RETURN(const v1::ListEpochsResponse epochs, client.ListEpochs());
    return EpochsView(epochs);
  });
}

ExitCode Explain(const AdminFlags& flags, Terminal&) {
  return PrintAnswer(flags, [&](Client& client) -> absl::StatusOr<AdminView> {
    ASSIGN_OR_RETURN(const v1::GetPlacementResponse placed, client.GetPlacement());
    ASSIGN_OR_RETURN(const v1::ListWorkersResponse workers, client.ListWorkers());
    return ExplainPlacement(placed, workers, flags.id);
  });
}

}  // namespace

void AddPlacementPast(CommandLine& cli, CLI::App* placement) {
  AddAdminVerb<AdminFlags>(cli, placement, "history",
                           "The last epochs: why each began, what moved, what ended it",
                           ShowHistory);
  const auto [explain, flags] =
      AddAdminVerb<AdminFlags>(cli, placement, "explain",
                               "What holds each worker back; of one worker, or one head", Explain);
  explain->add_option("about", flags->id, "A worker's id, or LAYER.HEAD (default: everything)")
      ->type_name("WORKER");
}

}  // namespace headlong
