// `requests list|get|trace|cancel`: what waits and runs, and what became of it.
#include "absl/strings/str_cat.h"
#include "cli/admin_output.h"
#include "cli/request_trace.h"
#include "cli/watch.h"
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

struct TraceFlags : AdminFlags {
  std::string svg;
  bool watch = false;
  WatchFlags frames;
};

ExitCode TraceRequest(const TraceFlags& flags, Terminal& terminal) {
  const TerminalTraits& traits = terminal.traits();
  const MapStyle style{terminal.colours_stdout(), traits.utf8, traits.width};
  const auto ask = [&](Client& client) -> absl::StatusOr<AdminView> {
    ASSIGN_OR_RETURN(const v1::TraceRequestResponse response, client.TraceRequest(flags.id));
    if (!flags.svg.empty()) {
      RETURN_IF_ERROR(WriteText(flags.svg, TraceSvg(response.trace()), "--svg"));
    }
    return TraceView(response.trace(), style);
  };
  if (!flags.watch) return PrintAnswer(flags, ask);
  const absl::StatusOr<std::unique_ptr<Client>> client = ConnectTo(flags.server);
  if (!client.ok()) return Fail(client.status());
  return WatchFrames(flags.frames, terminal, [&]() -> absl::StatusOr<WatchedFrame> {
    ASSIGN_OR_RETURN(const AdminView view, ask(**client));
    return WatchedFrame{TextOf(view, flags.format), flags.format.json()};
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

void AddTraceVerb(CommandLine& cli, CLI::App* noun) {
  const auto [command, flags] = AddAdminVerb<TraceFlags>(
      cli, noun, "trace",
      "The life of one, which may have ended: what it waited for, every chunk of its prompt, its "
      "steps, pauses, and how the client took the answer",
      TraceRequest);
  command->add_option("id", flags->id, "Request id")->required()->type_name("REQUEST");
  command->add_option("--svg", flags->svg, "Write the same as a picture to this file");
  CLI::Option* watch =
      command->add_flag("-w,--watch", flags->watch, "Again and again, until Ctrl-C");
  AddWatchFlags(command, &flags->frames);
  command->get_option("--interval")->needs(watch);
  command->get_option("--count")->needs(watch);
}

}  // namespace

void AddRequestsCommand(CommandLine& cli) {
  CLI::App* noun = cli.app.add_subcommand("requests", "Requests that wait, run or have ended");
  noun->require_subcommand(1);
  AddAdminVerb<AdminFlags>(cli, noun, "list", "All of them", ListRequests);
  const auto [get, got] =
      AddAdminVerb<AdminFlags>(cli, noun, "get", "One of them, in full", GetRequest);
  AddTraceVerb(cli, noun);
  const auto [cancel, cancelled] =
      AddAdminVerb<AdminFlags>(cli, noun, "cancel", "End one; its cache is freed", CancelRequest);
  AddDryRunFlag(cancel, &cancelled->dry_run);
  get->add_option("id", got->id, "Request id")->required()->type_name("REQUEST");
  cancel->add_option("id", cancelled->id, "Request id")->required()->type_name("REQUEST");
}

}  // namespace headlong
