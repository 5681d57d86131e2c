// `batch`: many prompts from a file, many at once; can be stopped and started again.
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/batch_file.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/generation.h"
#include "cli/interrupt.h"
#include "cli/parallel.h"
#include "cli/prompt.h"
#include "cli/quantity.h"
#include "cli/target.h"
#include "common/json.h"
#include "common/status.h"

namespace headlong {
namespace {

struct BatchFlags {
  TargetFlags target;
  SamplingFlags sampling;
  std::string in;
  std::string out;
  int concurrency = 8;
  OutputFlag output;
};

struct Work {
  std::vector<BatchRequest> requests;  // still to be done
  FinishedLines finished;
};

absl::StatusOr<Work> ReadWork(const BatchFlags& flags) {
  Work work;
  ASSIGN_OR_RETURN(const std::string text, ReadInput(flags.in, "--in"));
  ASSIGN_OR_RETURN(work.requests, ParseBatch(text, flags.sampling, flags.in));
  std::error_code error;
  if (std::filesystem::exists(flags.out, error)) {
    ASSIGN_OR_RETURN(const std::string results, ReadInput(flags.out, "--out"));
    ASSIGN_OR_RETURN(work.finished, ReadFinished(results, flags.out));
  }
  std::erase_if(work.requests, [&](const BatchRequest& request) {
    return work.finished.ids.contains(request.id);
  });
  return work;
}

// A queue that is full is not a failure of the request: it is sent again a little later.
GenerationResult RunPatiently(Client& client, const v1::GenerateRequest& request) {
  constexpr int kTries = 6;
  std::chrono::milliseconds wait(250);
  for (int tries = 1;; ++tries, wait *= 2) {
    GenerationResult result = RunGeneration(client, request, {}, std::chrono::milliseconds(0));
    const bool full = result.error.code() == absl::StatusCode::kResourceExhausted;
    if (!full || tries == kTries || !SleepUnlessInterrupted(wait)) return result;
  }
}

// The requests of one run, taken by many threads.
class BatchRun {
 public:
  BatchRun(const std::vector<BatchRequest>& requests, Client& client, ResultFile& out)
      : requests_(requests), client_(client), out_(out) {}

  // One thread's part: takes requests until none is left or going on makes no sense.
  void Work() {
    while (!Interrupted() && !stop_) {
      const size_t index = next_.fetch_add(1);
      if (index >= requests_.size()) return;
      Do(requests_[index]);
    }
  }

  size_t done() const { return done_; }
  size_t failed() const { return failed_; }
  absl::Status stopped_by() const ABSL_LOCKS_EXCLUDED(mutex_) {
    const std::lock_guard lock(mutex_);
    return stopped_by_;
  }

 private:
  void Do(const BatchRequest& request) {
    GenerationResult result = RunPatiently(client_, request.request);
    if (Interrupted() && !result.ok()) return;  // not a result: the next run does it
    result.id = request.id;
    // Nothing else will get through either; the requests stay undone for the next run.
    if (result.error.code() == absl::StatusCode::kUnavailable) return Stop(result.error);
    const absl::Status written = out_.Append(GenerationJson(result));
    if (!written.ok()) return Stop(written);
    if (!result.ok()) ++failed_;
    ++done_;
  }
  void Stop(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_) {
    const std::lock_guard lock(mutex_);
    stopped_by_.Update(status);
    stop_ = true;
  }

  const std::vector<BatchRequest>& requests_;
  Client& client_;
  ResultFile& out_;
  std::atomic<size_t> next_{0};
  std::atomic<size_t> done_{0};
  std::atomic<size_t> failed_{0};
  std::atomic<bool> stop_{false};
  mutable std::mutex mutex_;
  absl::Status stopped_by_ ABSL_GUARDED_BY(mutex_);
};

ExitCode Summarise(const BatchFlags& flags, size_t done_before, size_t done, size_t failed,
                   Terminal& terminal) {
  if (flags.output.json()) {
    const absl::Status printed =
        PrintJson({{"done_before", done_before}, {"done", done - failed}, {"failed", failed}});
    if (!printed.ok()) return Fail(printed);
  } else {
    terminal.Line(absl::StrCat("batch: ", done - failed, " done, ", failed, " failed"));
  }
  return failed == 0 ? ExitCode::kOk : ExitCode::kFailed;
}

ExitCode RunBatch(const BatchFlags& flags, Terminal& terminal) {
  const absl::StatusOr<Work> work = ReadWork(flags);
  if (!work.ok()) return Fail(work.status());
  const size_t total = work->requests.size();
  const absl::StatusOr<std::unique_ptr<ResultFile>> out =
      ResultFile::Open(flags.out, work->finished);
  if (!out.ok()) return Fail(out.status());
  const size_t done_before = work->finished.ids.size();
  if (done_before > 0) {
    terminal.Line(absl::StrCat("batch: ", done_before, " done before, ", total, " to do"));
  }
  if (total == 0) return Summarise(flags, done_before, 0, 0, terminal);

  const TargetOrExit opened = OpenTarget(flags.target, flags.concurrency, terminal);
  if (!opened.ok()) return opened.exit;
  BatchRun run(work->requests, *opened.target.client, **out);
  RunOnThreads(
      std::min<size_t>(flags.concurrency, total), [&] { run.Work(); }, "batch",
      [&] {
        const std::string failed =
            run.failed() > 0 ? absl::StrCat(", ", run.failed(), " failed") : "";
        return ProgressState{static_cast<double>(run.done()), static_cast<double>(total),
                             absl::StrCat(run.done(), " of ", total, " requests", failed)};
      },
      terminal);
  if (Interrupted()) {
    return Fail(absl::CancelledError(absl::StrCat("interrupted after ", run.done(), " of ", total,
                                                  " requests; the same command goes on")),
                ExitCode::kInterrupted);
  }
  if (const absl::Status stopped = run.stopped_by(); !stopped.ok()) {
    return Fail(Annotate(stopped, absl::StrCat("stopped after ", run.done(), " of ", total,
                                               " requests (the same command goes on)")),
                ExitCodeOf(stopped));
  }
  return Summarise(flags, done_before, run.done(), run.failed(), terminal);
}

}  // namespace

void AddBatchCommand(CommandLine& cli) {
  auto flags = std::make_shared<BatchFlags>();
  CLI::App* command = cli.app.add_subcommand(
      "batch", "Answer the requests of a file; started again, it does what is left");
  command
      ->add_option("--in", flags->in,
                   "Requests, one JSON object per line: id, prompt or prompt_ids, max_tokens, ...")
      ->required();
  command->add_option("--out", flags->out, "Results, one JSON object per line, appended")
      ->required();
  command->add_option("--concurrency", flags->concurrency, "Requests in flight at once")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  AddSamplingFlags(command, &flags->sampling);
  AddTargetFlags(command, &flags->target);
  AddOutputFlag(command, &flags->output);
  command->callback(
      [&cli, flags] { cli.action = [&cli, flags] { return RunBatch(*flags, cli.terminal); }; });
}

}  // namespace headlong
