#include "cli/doctor.h"

#include <sys/resource.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/contexts.h"
#include "cli/local_cluster.h"
#include "cli/quantity.h"
#include "cli/terminal.h"
#include "common/version.h"
#include "worker/worker.h"

namespace headlong {
namespace {

constexpr rlim_t kFewFiles = 1024;

const char* NameOf(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kWarn:
      return "warn";
    case Verdict::kFail:
      return "fail";
  }
  return "fail";
}

const char* StyleOf(Verdict verdict) {
  return verdict == Verdict::kOk ? "32" : verdict == Verdict::kWarn ? "33" : "31";
}

}  // namespace

void Findings::Ok(std::string check, std::string found) {
  all_.push_back({std::move(check), Verdict::kOk, std::move(found), ""});
}

void Findings::Warn(std::string check, std::string found, std::string next) {
  all_.push_back({std::move(check), Verdict::kWarn, std::move(found), std::move(next)});
}

void Findings::Fail(std::string check, std::string found, std::string next) {
  all_.push_back({std::move(check), Verdict::kFail, std::move(found), std::move(next)});
}

bool Findings::failed() const {
  return std::any_of(all_.begin(), all_.end(),
                     [](const Finding& each) { return each.verdict == Verdict::kFail; });
}

void CheckMachine(Findings& findings) {
  const std::string gpus = BuiltForGpus();
  findings.Ok("program", absl::StrCat("headlong ", Version(), ", built for ",
                                      gpus.empty() ? "CPUs" : absl::StrCat("CPUs and GPUs ", gpus),
                                      "; ", FormatBytes(FreeMemoryBytes()), " of memory free"));
  rlimit files = {};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < kFewFiles) {
    findings.Warn("open files", absl::StrCat("a process may open ", files.rlim_cur, " files"),
                  "a server needs one per client and worker: ulimit -n 65536");
  }
  const std::filesystem::path path = ContextsPath(FromEnvironment);
  const absl::StatusOr<Contexts> contexts = LoadContexts(path);
  if (!contexts.ok()) {
    findings.Fail("contexts", std::string(contexts.status().message()),
                  absl::StrCat("mend or remove ", path.string()));
  } else if (!contexts->by_name.empty()) {
    findings.Ok("contexts", absl::StrCat(contexts->by_name.size(), " in ", path.string(),
                                         contexts->current.empty() ? ", none in use" : ", in use: ",
                                         contexts->current));
  }
}

OutputJson FindingsJson(const Findings& findings) {
  OutputJson json;
  json["ok"] = !findings.failed();
  json["checks"] = OutputJson::array();
  for (const Finding& finding : findings.all()) {
    OutputJson entry = {
        {"check", finding.check}, {"result", NameOf(finding.verdict)}, {"found", finding.found}};
    if (!finding.next.empty()) entry["next"] = finding.next;
    json["checks"].push_back(std::move(entry));
  }
  return json;
}

std::string FindingsText(const Findings& findings, bool colour) {
  constexpr size_t kCheckWidth = 14;
  std::string text;
  int warnings = 0;
  int failures = 0;
  for (const Finding& finding : findings.all()) {
    warnings += finding.verdict == Verdict::kWarn ? 1 : 0;
    failures += finding.verdict == Verdict::kFail ? 1 : 0;
    const std::string name = NameOf(finding.verdict);
    const size_t width = std::max(kCheckWidth, finding.check.size());
    absl::StrAppend(&text, Styled(name, StyleOf(finding.verdict), colour),
                    std::string(6 - name.size(), ' '), finding.check,
                    std::string(width - finding.check.size() + 1, ' '), finding.found, "\n");
    if (!finding.next.empty()) {
      absl::StrAppend(&text, std::string(6 + kCheckWidth + 1, ' '), "-> ", finding.next, "\n");
    }
  }
  const auto counted = [](int count, const char* what) {
    return absl::StrCat(count, " ", what, count == 1 ? "" : "s");
  };
  absl::StrAppend(&text, counted(static_cast<int>(findings.all().size()), "check"), ", ",
                  counted(warnings, "warning"), ", ", counted(failures, "failure"), "\n");
  return text;
}

}  // namespace headlong
