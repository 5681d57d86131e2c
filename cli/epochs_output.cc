#include "cli/epochs_output.h"

#include <ctime>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/quantity.h"
#include "cli/table.h"

namespace headlong {
namespace {

// "2026-01-31T12:00:00Z"
std::string TimeText(int64_t unix_ms) {
  const std::time_t seconds = static_cast<std::time_t>(unix_ms / 1000);
  std::tm parts = {};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string Outcome(const v1::Epoch& epoch) {
  if (!epoch.refusal().empty()) return absl::StrCat("could not begin: ", epoch.refusal());
  if (!epoch.ended().empty()) return absl::StrCat("ended: ", epoch.ended());
  return epoch.seconds_to_serve() > 0 ? "in force" : "loading";
}

const char* OutcomeName(const v1::Epoch& epoch) {
  if (!epoch.refusal().empty()) return "refused";
  return epoch.ended().empty() ? "in_force" : "ended";
}

OutputJson EpochJson(const v1::Epoch& epoch) {
  OutputJson json;
  json["epoch"] = epoch.epoch();
  json["began"] = TimeText(epoch.began_unix_ms());
  json["reason"] = epoch.reason();
  json["outcome"] = OutcomeName(epoch);
  json["ended"] = epoch.ended();
  json["refusal"] = epoch.refusal();
  json["workers"] = OutputJson::array();
  for (const std::string& id : epoch.workers()) json["workers"].push_back(id);
  json["heads"] = epoch.heads();
  json["heads_moved"] = epoch.heads_moved();
  json["step_ms"] = epoch.step_ms();
  json["gap"] = epoch.gap();
  json["seconds_to_serve"] = epoch.seconds_to_serve();
  json["sequences_moved"] = epoch.sequences_moved();
  json["sequences_replayed"] = epoch.sequences_replayed();
  return json;
}

}  // namespace

AdminView EpochsView(const v1::ListEpochsResponse& epochs) {
  Table table({">epoch", "began", "because", ">moved", ">serves after", "outcome"});
  Table wide({">epoch", "began", "because", ">moved", ">serves after", ">step", ">gap", ">kept",
              ">replayed", "workers", "outcome"});
  AdminView view;
  view.json = OutputJson::array();
  for (const v1::Epoch& epoch : epochs.epochs()) {
    view.json.push_back(EpochJson(epoch));
    const std::string moved = absl::StrCat(epoch.heads_moved(), " of ", epoch.heads());
    const std::string serves =
        epoch.seconds_to_serve() > 0 ? FormatMillis(epoch.seconds_to_serve() * 1e3) : "-";
    table.Row({absl::StrCat(epoch.epoch()), TimeText(epoch.began_unix_ms()), epoch.reason(), moved,
               serves, Outcome(epoch)});
    wide.Row({absl::StrCat(epoch.epoch()), TimeText(epoch.began_unix_ms()), epoch.reason(), moved,
              serves, absl::StrFormat("%.3f ms", epoch.step_ms()), FormatPercent(epoch.gap()),
              absl::StrCat(epoch.sequences_moved()), absl::StrCat(epoch.sequences_replayed()),
              absl::StrJoin(epoch.workers(), ","), Outcome(epoch)});
    absl::StrAppend(&view.names, epoch.epoch(), "\n");
  }
  view.table = table.Text();
  view.wide = wide.Text();
  return view;
}

}  // namespace headlong
