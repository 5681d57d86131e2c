#include "cli/doctor_bundle.h"

#include <sys/utsname.h>

#include <ctime>
#include <thread>

#include "absl/strings/str_cat.h"
#include "cli/contexts.h"
#include "cli/local_cluster.h"
#include "cli/private_file.h"
#include "cli/tar_file.h"
#include "common/version.h"
#include "common/wire.h"
#include "worker/worker.h"

namespace headlong {
namespace {

constexpr char kReadme[] =
    "Written by `headlong doctor --bundle`. No tokens, keys, prompts or answers are in it; names "
    "of\n"
    "files, hosts, workers and requests are.\n\n"
    "findings.json   the checks, as `headlong doctor -o json` prints them\n"
    "findings.txt    the same to read\n"
    "machine.json    this program and this machine\n"
    "config.json     the contexts of `headlong config`, and which are in use\n"
    "cluster.json    of the server: its state,\n"
    "workers.json    its workers,\n"
    "requests.json   what waits and runs (counts and ids),\n"
    "epochs.json     its last epochs,\n"
    "placement.json  its placement,\n"
    "model.json      its model and plan\n";

OutputJson MachineJson() {
  utsname system = {};
  uname(&system);
  return {{"version", Version()},
          {"wire_protocol", kWireProtocol},
          {"gpu_architectures", BuiltForGpus()},
          {"usable_gpus", CountUsableGpus()},
          {"system", absl::StrCat(system.sysname, " ", system.release, " ", system.machine)},
          {"host", system.nodename},
          {"cores", std::thread::hardware_concurrency()},
          {"free_memory_bytes", FreeMemoryBytes()}};
}

OutputJson ConfigJson() {
  const std::filesystem::path path = ContextsPath(FromEnvironment);
  const absl::StatusOr<Contexts> contexts = LoadContexts(path);
  OutputJson json =
      contexts.ok() ? ContextsJson(*contexts) : OutputJson{{"error", ErrorJson(contexts.status())}};
  json["file"] = path.string();
  for (const char* name :
       {"HEADLONG_SERVER", "HEADLONG_CONTEXT", "HEADLONG_TLS_CA", "HEADLONG_TOKEN_FILE"}) {
    json["environment"][name] = FromEnvironment(name);
  }
  return json;
}

}  // namespace

absl::Status WriteBundle(const std::string& path, const Findings& findings,
                         const ServerAnswers& answers) {
  TarFile tar(std::time(nullptr));
  const auto add = [&tar](const std::string& name, const std::string& text) {
    tar.Add("headlong-doctor/" + name, text);
  };
  const auto add_json = [&add](const std::string& name, const OutputJson& json) {
    if (!json.is_null()) {
      add(name + ".json", json.dump(2, ' ', false, OutputJson::error_handler_t::replace) + "\n");
    }
  };
  add("README.txt", kReadme);
  add_json("findings", FindingsJson(findings));
  add("findings.txt", FindingsText(findings, /*colour=*/false));
  add_json("machine", MachineJson());
  add_json("config", ConfigJson());
  add_json("cluster", answers.cluster);
  add_json("workers", answers.workers);
  add_json("requests", answers.requests);
  add_json("epochs", answers.epochs);
  add_json("placement", answers.placement);
  add_json("model", answers.model);
  return WritePrivateFile(path, tar.Bytes(), /*replace=*/true);
}

}  // namespace headlong
