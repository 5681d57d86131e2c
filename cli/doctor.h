// Why a set-up does not work: checks one after the other, each with what it found, and where it
// found something wrong, what to do next. A check that another one failed for is left out.
#pragma once

#include <string>
#include <vector>

#include "cli/flags.h"
#include "cli/json_output.h"

namespace headlong {

enum class Verdict { kOk, kWarn, kFail };

struct Finding {
  std::string check;  // "port", "certificate", ...
  Verdict verdict = Verdict::kOk;
  std::string found;  // what is so; where it is wrong, the cause
  std::string next;   // what to do; empty where all is well
};

// In the order of the checks. Adding is all that changes it.
class Findings {
 public:
  void Ok(std::string check, std::string found);
  void Warn(std::string check, std::string found, std::string next);
  void Fail(std::string check, std::string found, std::string next);
  const std::vector<Finding>& all() const { return all_; }
  bool failed() const;

 private:
  std::vector<Finding> all_;
};

// Asked of the user's side; empty: not asked.
struct DoctorQuestion {
  TargetFlags target;     // a server, or a model that would be served here
  std::string worker_of;  // a coordinator's address for workers
  TlsFiles worker_tls;    // what a worker would show it
  std::string bundle;     // file to write
};

// A server as its clients reach it. What it answered is kept for the bundle.
struct ServerAnswers {
  OutputJson cluster, workers, requests, epochs, placement, model;  // null: no answer
};
void CheckServer(const ServerFlags& server, Findings& findings, ServerAnswers& answers);

// A model folder, its plan, the memory and the device that would serve it on this machine.
void CheckModel(const TargetFlags& target, Findings& findings);

// The coordinator as a worker would meet it, without joining; `model`: a folder, or empty.
void CheckWorkerLink(const std::string& address, const TlsFiles& files, const std::string& model,
                     Findings& findings);

// This program and this machine.
void CheckMachine(Findings& findings);

OutputJson FindingsJson(const Findings& findings);
std::string FindingsText(const Findings& findings, bool colour);

}  // namespace headlong
