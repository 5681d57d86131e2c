// `requests list|get|cancel`: what waits and runs.
#include "absl/strings/str_cat.h"
#include "cli/admin_output.h"
#include "common/status.h"

namespace headlong {
namespace {

ExitCode ListRequests(const AdminFlags& flags, Terminal&) {
  return PrintAnswer(flags, [](Client& client) -> absl::StatusOr<AdminView> {
    ASSIGN_OR_RETURN(const v1::ListRequestsResponse requests, client.ListRequests());
    return RequestsView(requests);
  });
}

ExitCode GetRequest(const AdminFlags& flags, Terminal&) {
  return PrintAnswer(flags, [&](Client& client) -> absl::StatusOr<AdminView> {
    ASSIGN_OR_RETURN(const v1::ListRequestsResponse requests, client.ListRequests());
    return RequestView(requests, flags.id);
  });
}

ExitCode CancelRequest(const AdminFlags& flags, Terminal&) {
  return PrintAnswer(flags, [&](Client& client) -> absl::StatusOr<AdminView> {
    RETURN_IF_ERROR(client.CancelRequest(flags.id, flags.dry_run));
    AdminView view;
    view.json = {{"id", flags.id}, {"cancelled", !flags.dry_run}};
    if (flags.dry_run) view.json["dry_run"] = true;
    view.names = flags.id + "\n";
    view.table = absl::StrCat(flags.dry_run ? "would cancel " : "cancelled ", flags.id, "\n");
    view.wide = view.table;
    return view;
  });
}

}  // namespace

void AddRequestsCommand(CommandLine& cli) {
  CLI::App* noun = cli.app.add_subcommand("requests", "Requests that wait or run");
  noun->require_subcommand(1);
  AddAdminVerb<AdminFlags>(cli, noun, "list", "All of them", ListRequests);
  const auto [get, got] =
      AddAdminVerb<AdminFlags>(cli, noun, "get", "One of them, in full", GetRequest);
  const auto [cancel, cancelled] =
      AddAdminVerb<AdminFlags>(cli, noun, "cancel", "End one; its cache is freed", CancelRequest);
  AddDryRunFlag(cancel, &cancelled->dry_run);
  get->add_option("id", got->id, "Request id")->required()->type_name("REQUEST");
  cancel->add_option("id", cancelled->id, "Request id")->required()->type_name("REQUEST");
}

}  // namespace headlong
