// What a doctor asks a server, once it is reached: who may ask, what runs there, how it is.
#include <sys/stat.h>

#include <chrono>
#include <cmath>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/admin_output.h"
#include "cli/doctor.h"
#include "cli/doctor_reach.h"
#include "cli/epochs_output.h"
#include "cli/model_output.h"
#include "cli/placement_output.h"
#include "cli/quantity.h"
#include "cli/target.h"
#include "common/version.h"

namespace headlong {
namespace {

constexpr double kSkewS = 5;  // of two clocks, beyond what an answer takes
constexpr double kFullCache = 0.95;
constexpr double kWideGap = 0.25;  // of a placement over its bound
constexpr int kManyBreaks = 3;     // epochs that broke, of those that are remembered

int64_t UnixMillisNow() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

bool CheckTokenFile(const ServerFlags& server, Findings& findings) {
  if (server.token_file.empty()) return true;
  const absl::Status usable = ClientOptionsFrom(server).status();
  if (!usable.ok()) {
    findings.Fail("token file", std::string(usable.message()),
                  "give a file that holds the token that `headlong auth token create` printed");
    return false;
  }
  struct stat file = {};
  if (stat(server.token_file.c_str(), &file) == 0 && (file.st_mode & 077) != 0) {
    findings.Warn("token file", absl::StrCat("others may read ", server.token_file),
                  absl::StrCat("chmod 600 ", server.token_file));
  } else {
    findings.Ok("token file", absl::StrCat(server.token_file, " is its owner's alone"));
  }
  return true;
}

// The first call: whether it is Headlong, and whether this caller may ask.
bool CheckAccess(const absl::Status& status, const ServerFlags& server, Findings& findings) {
  const std::string why(status.message());
  if (status.ok()) {
    findings.Ok("access", "this caller may read what the cluster is");
  } else if (absl::IsUnauthenticated(status) && server.token_file.empty()) {
    findings.Fail(
        "access", absl::StrCat("no access token was shown: ", why),
        "give --token-file FILE; `headlong auth token create TOKENS NAME --scopes read` makes "
        "one, on the coordinator");
  } else if (absl::IsUnauthenticated(status)) {
    findings.Fail(
        "access", absl::StrCat("the token in ", server.token_file, ": ", why),
        "it was revoked, or is another cluster's: `headlong auth token list TOKENS` on the "
        "coordinator");
  } else if (absl::IsPermissionDenied(status)) {
    findings.Fail("access", absl::StrCat("the token in ", server.token_file, ": ", why),
                  "make one with the scope read: `headlong auth token create TOKENS NAME --scopes "
                  "infer,read`");
  } else if (absl::IsUnimplemented(status)) {
    findings.Fail("access", why, "give another port, or bring client and server to one version");
  } else {
    findings.Fail("access", why, "see the server's log");
  }
  return status.ok();
}

void CheckVersions(const v1::GetClusterResponse& cluster, const v1::ListWorkersResponse& workers,
                   Findings& findings) {
  std::string others;
  for (const v1::Worker& worker : workers.workers()) {
    if (worker.state() == "gone" || worker.version() == cluster.version()) continue;
    absl::StrAppend(&others, others.empty() ? "" : ", ", worker.id(), " ",
                    worker.version().empty() ? "older" : worker.version());
  }
  if (!others.empty()) {
    findings.Warn("versions",
                  absl::StrCat("the coordinator is ", cluster.version(), ", but workers: ", others),
                  "an update is not through: bring all of them to one version");
  } else if (cluster.version() != Version()) {
    findings.Warn(
        "versions",
        absl::StrCat("the server is ", cluster.version().empty() ? "older" : cluster.version(),
                     ", this program ", Version()),
        "use the server's version: answers may lack what this one shows");
  } else {
    findings.Ok("versions",
                absl::StrCat("all are ", Version(), ", protocol ", cluster.wire_protocol()));
  }
}

void CheckClock(const v1::GetClusterResponse& cluster, double call_s, Findings& findings) {
  if (cluster.unix_ms() == 0) return;
  const double skew_s = (UnixMillisNow() - cluster.unix_ms()) / 1e3;
  const std::string found =
      absl::StrFormat("the server's clock and this one differ by %.1f s", std::abs(skew_s));
  if (std::abs(skew_s) > kSkewS + call_s) {
    findings.Warn("clock", found, "certificates and logs need the same time: run NTP on both");
  } else {
    findings.Ok("clock", found);
  }
}

std::string NextFor(const std::string& refusal) {
  if (absl::StrContains(refusal, "speaks protocol")) {
    return "coordinator and worker are of different versions: update the older one";
  }
  if (absl::StrContains(refusal, "another model")) {
    return "give it the same --model folder; `headlong model info --model DIR` shows fingerprints";
  }
  if (absl::StrContains(refusal, "registered as")) return "give each worker an --id of its own";
  return "see the worker's log";
}

void CheckWorkers(const v1::GetClusterResponse& cluster, const v1::ListWorkersResponse& workers,
                  Findings& findings) {
  for (const v1::RefusedWorker& refused : workers.refused()) {
    findings.Fail("workers",
                  absl::StrCat("worker ", refused.id(), " of ", refused.host(), " was refused ",
                               FormatMillis(refused.age_s() * 1e3), " ago: ", refused.reason()),
                  NextFor(refused.reason()));
  }
  std::string away;
  for (const v1::Worker& worker : workers.workers()) {
    if (worker.state() != "gone" && worker.state() != "drained") continue;
    absl::StrAppend(&away, away.empty() ? "" : ", ", worker.id(), " is ", worker.state());
  }
  const std::string ready =
      absl::StrCat(cluster.workers_ready(), " of ", cluster.workers_expected(), " are ready");
  if (!away.empty()) {
    findings.Warn("workers", absl::StrCat(ready, "; ", away),
                  "start them again, or let them back in: `headlong workers return ID`");
  } else if (cluster.workers_ready() < cluster.workers_expected() && workers.refused().empty()) {
    findings.Warn("workers", ready,
                  "start those that are missing: `headlong doctor --worker-of` on their machine "
                  "says why they do not come");
  } else if (workers.refused().empty()) {
    findings.Ok("workers", ready);
  }
}

void CheckState(const v1::GetClusterResponse& cluster, Findings& findings) {
  if (CanServe(cluster)) {
    findings.Ok("cluster", absl::StrCat(cluster.model(), ", epoch ", cluster.epoch(), ", serves"));
    return;
  }
  const bool memory =
      absl::StrContains(cluster.reason(), "bytes") || absl::StrContains(cluster.reason(), "memory");
  findings.Fail("cluster",
                absl::StrCat("it does not serve, it is ", cluster.state(), ": ", cluster.reason()),
                memory ? "more or larger workers, a larger --memory-limit, a smaller --max-context "
                         "or a plan with fewer full heads"
                       : "see the workers below");
}

void CheckLoad(const v1::GetClusterResponse& cluster, Findings& findings) {
  const double reserved = static_cast<double>(cluster.cache_bytes_reserved());
  const double used = reserved > 0 ? cluster.cache_bytes_used() / reserved : 0;
  const std::string found =
      absl::StrCat(cluster.requests_running(), " requests run, ", cluster.requests_waiting(),
                   " wait; ", FormatPercent(used), " of the cache is used");
  if (used > kFullCache && cluster.requests_waiting() > 0) {
    findings.Warn("load", found, "more memory for workers, or fewer and shorter requests");
  } else {
    findings.Ok("load", found);
  }
}

void CheckPast(const v1::ListEpochsResponse& epochs, Findings& findings) {
  int broken = 0;
  std::string last;
  for (const v1::Epoch& epoch : epochs.epochs()) {
    const std::string& why = epoch.ended();
    const bool wanted = absl::StrContains(why, "operator") || absl::StrContains(why, "drained") ||
                        absl::StrContains(why, "returns") || absl::StrContains(why, "joins");
    if (why.empty() || wanted) continue;
    ++broken;
    last = why;
  }
  if (broken >= kManyBreaks) {
    findings.Warn("epochs", absl::StrCat(broken, " epochs broke; the last: ", last),
                  "`headlong placement history` shows them; see the log of that worker");
  } else if (epochs.epochs_size() > 0) {
    findings.Ok("epochs", absl::StrCat(broken, " of ", epochs.epochs_size(), " epochs broke"));
  }
}

void CheckPlacement(const v1::GetPlacementResponse& placed, Findings& findings) {
  const v1::Placement& placement = placed.placement();
  const std::string found =
      absl::StrFormat("a step is modelled to take %.3f ms, %.1f %% more than the bound",
                      placement.step_ms(), 100 * placement.gap());
  if (placement.gap() > kWideGap) {
    findings.Warn("placement", found, "`headlong placement explain` says what holds workers back");
  } else {
    findings.Ok("placement", found);
  }
}

// What every later check needs; the rest is looked at where it is answered.
void AskOn(Client& client, const v1::GetClusterResponse& cluster, Findings& findings,
           ServerAnswers& answers) {
  const absl::StatusOr<v1::ListWorkersResponse> workers = client.ListWorkers();
  if (workers.ok()) {
    answers.cluster = ClusterView(cluster, *workers).json;
    answers.workers = WorkersView(*workers).json;
    CheckVersions(cluster, *workers, findings);
  }
  CheckState(cluster, findings);
  if (workers.ok()) CheckWorkers(cluster, *workers, findings);
  const absl::StatusOr<v1::GetModelResponse> model = client.GetModel();
  if (model.ok()) {
    answers.model = ModelJson({*model, 0, true});
  } else if (absl::IsPermissionDenied(model.status())) {
    findings.Warn("prompts", std::string(model.status().message()),
                  "this token cannot send prompts; give it the scope infer where it should");
  }
  if (const auto requests = client.ListRequests(); requests.ok()) {
    answers.requests = RequestsView(*requests).json;
  }
  CheckLoad(cluster, findings);
  if (const auto placed = client.GetPlacement(); placed.ok()) {
    answers.placement = PlacementJson(placed->placement(), placed->report());
    CheckPlacement(*placed, findings);
  }
  if (const auto epochs = client.ListEpochs(); epochs.ok()) {
    answers.epochs = EpochsView(*epochs).json;
    CheckPast(*epochs, findings);
  }
}

}  // namespace

void CheckServer(const ServerFlags& server, Findings& findings, ServerAnswers& answers) {
  Reach reach;
  reach.at = SplitAddress(server.address);
  reach.tls = server.tls || server.files.any();
  reach.files = server.files;
  if (!CheckTokenFile(server, findings) || !CheckReach(reach, findings)) return;
  absl::StatusOr<ClientOptions> options = ClientOptionsFrom(server);
  if (!options.ok()) return;  // said above
  options->call_timeout = std::chrono::milliseconds(10000);
  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(*options);
  if (!client.ok()) {
    return findings.Fail("access", std::string(client.status().message()),
                         "what listens there takes connections but is no gRPC server");
  }
  const auto begin = std::chrono::steady_clock::now();
  const absl::StatusOr<v1::GetClusterResponse> cluster = (*client)->GetCluster();
  const std::chrono::duration<double> call = std::chrono::steady_clock::now() - begin;
  if (!CheckAccess(cluster.status(), server, findings)) return;
  answers.cluster = ClusterJson(*cluster);
  CheckClock(*cluster, call.count(), findings);
  AskOn(**client, *cluster, findings, answers);
}

}  // namespace headlong
