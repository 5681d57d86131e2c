// The files of `batch`: request lines in, result lines out, and what of them is left to do. Nothing
// here talks to a server.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "cli/flags.h"
#include "cli/json_output.h"
#include "headlong/v1/inference.pb.h"

namespace headlong {

struct BatchRequest {
  std::string id;  // as the line names it; results carry it
  v1::GenerateRequest request;
};

// One request per line; empty lines are skipped. A line without a sampling field takes the flag's.
// INVALID_ARGUMENT names the source, the line's number and the field.
absl::StatusOr<std::vector<BatchRequest>> ParseBatch(std::string_view text,
                                                     const SamplingFlags& defaults,
                                                     std::string_view source);

// What an earlier run left in a result file.
struct FinishedLines {
  std::set<std::string> ids;  // done without an error
  std::string kept;           // their lines, whole
  int failed = 0;             // lines with an error: to be done again
  bool torn = false;          // the last line was cut off
};

// INVALID_ARGUMENT when a whole line is not a result: the file is something else and is left alone.
absl::StatusOr<FinishedLines> ReadFinished(std::string_view text, std::string_view source);

// Appends whole lines to the result file. Thread-safe.
class ResultFile {
 public:
  // Opens `path` for appending after bringing it to `kept` lines where an earlier run left torn or
  // failed ones (replaced as a whole, so an interrupted start loses nothing).
  static absl::StatusOr<std::unique_ptr<ResultFile>> Open(const std::filesystem::path& path,
                                                          const FinishedLines& finished);
  ~ResultFile();
  ResultFile(const ResultFile&) = delete;

  // On disk when it returns OK, as far as the system can tell.
  absl::Status Append(const OutputJson& line) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  ResultFile(std::filesystem::path path, int fd) : path_(std::move(path)), fd_(fd) {}
  const std::filesystem::path path_;
  std::mutex mutex_;
  const int fd_;
};

}  // namespace headlong
