#include "cli/batch_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <map>

#include "absl/strings/str_cat.h"
#include "cli/prompt.h"
#include "common/json.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr int64_t kAnyInteger = std::numeric_limits<int64_t>::max();

// Lines that hold something, with their numbers.
struct NumberedLine {
  int number = 0;
  std::string_view text;
  bool whole = true;  // ends with a newline
};

std::vector<NumberedLine> SplitLines(std::string_view text) {
  std::vector<NumberedLine> lines;
  int number = 0;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    ++number;
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) {
      lines.push_back({number, line, end != std::string_view::npos});
    }
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

absl::StatusOr<std::string> IdOf(const Json& line, int number, const std::string& what) {
  const auto id = line.find("id");
  if (id == line.end()) return absl::StrCat("line-", number);
  if (id->is_number_integer()) return id->dump();
  ASSIGN_OR_RETURN(std::string text, JsonString(line, "id", what));
  if (text.empty()) return absl::InvalidArgumentError(absl::StrCat(what, ": id: is empty"));
  return text;
}

absl::Status SetLinePrompt(const Json& line, const std::string& what,
                           v1::GenerateRequest* request) {
  if (line.contains("prompt") == line.contains("prompt_ids")) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": needs one of prompt and prompt_ids",
                     line.contains("prompt") ? ", has both" : ", has neither"));
  }
  if (line.contains("prompt")) {
    ASSIGN_OR_RETURN(*request->mutable_text(), JsonString(line, "prompt", what));
    return absl::OkStatus();
  }
  const Json& ids = line["prompt_ids"];
  if (!ids.is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": prompt_ids: must be an array"));
  }
  request->mutable_token_ids();
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!ids[i].is_number_unsigned() || ids[i].get<uint64_t>() > UINT32_MAX) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": prompt_ids[", i, "]: is not a token id"));
    }
    request->mutable_token_ids()->add_ids(ids[i].get<uint32_t>());
  }
  return absl::OkStatus();
}

absl::Status SetLineField(const Json& line, const std::string& key, const std::string& what,
                          v1::GenerateRequest* request) {
  if (key == "prompt_tokens") {
    ASSIGN_OR_RETURN(const int64_t tokens, JsonInt(line, key, 1, UINT32_MAX, what));
    request->set_prompt_tokens(static_cast<uint32_t>(tokens));
  } else if (key == "max_tokens") {
    ASSIGN_OR_RETURN(const int64_t tokens, JsonInt(line, key, 1, kAnyInteger, what));
    request->set_max_tokens(tokens);
  } else if (key == "temperature") {
    ASSIGN_OR_RETURN(const double value, JsonNumber(line, key, what));
    request->set_temperature(static_cast<float>(value));
  } else if (key == "top_p") {
    ASSIGN_OR_RETURN(const double value, JsonNumber(line, key, what));
    request->set_top_p(static_cast<float>(value));
  } else if (key == "min_p") {
    ASSIGN_OR_RETURN(const double value, JsonNumber(line, key, what));
    request->set_min_p(static_cast<float>(value));
  } else if (key == "top_k") {
    ASSIGN_OR_RETURN(const int64_t value, JsonInt(line, key, -1, kAnyInteger, what));
    request->set_top_k(value);
  } else if (key == "seed") {
    // The whole range of uint64, which JsonInt does not have.
    if (!line[key].is_number_unsigned()) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": seed: must be an integer of at least 0"));
    }
    request->set_seed(line[key].get<uint64_t>());
  } else if (key == "logprobs") {
    ASSIGN_OR_RETURN(const int64_t value, JsonInt(line, key, 0, kAnyInteger, what));
    request->set_logprobs(value);
  } else if (key == "ignore_eos") {
    ASSIGN_OR_RETURN(const bool value, JsonBool(line, key, what));
    request->set_ignore_eos(value);
  } else if (key == "stop") {
    const Json stops = line[key].is_string() ? Json::array({line[key]}) : line[key];
    const auto is_text = [](const Json& stop) { return stop.is_string(); };
    if (!stops.is_array() || !std::all_of(stops.begin(), stops.end(), is_text)) {
      return absl::InvalidArgumentError(absl::StrCat(what, ": stop: must be texts"));
    }
    request->clear_stop();
    for (const Json& stop : stops) request->add_stop(stop.get<std::string>());
  } else if (key != "id" && key != "prompt" && key != "prompt_ids") {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": ", key, ": is not a field of requests"));
  }
  return absl::OkStatus();
}

absl::StatusOr<BatchRequest> ParseRequest(const NumberedLine& line, const SamplingFlags& defaults,
                                          const std::string& what) {
  ASSIGN_OR_RETURN(const Json json, ParseJson(line.text, what));
  if (!json.is_object())
    return absl::InvalidArgumentError(absl::StrCat(what, ": is not an object"));
  BatchRequest parsed;
  ASSIGN_OR_RETURN(parsed.id, IdOf(json, line.number, what));
  SetSampling(defaults, &parsed.request);
  RETURN_IF_ERROR(SetLinePrompt(json, what, &parsed.request));
  for (const auto& [key, value] : json.items()) {
    RETURN_IF_ERROR(SetLineField(json, key, what, &parsed.request));
  }
  return parsed;
}

absl::Status FileError(const std::filesystem::path& path, const char* what) {
  return absl::InternalError(absl::StrCat(path.string(), ": ", what, ": ", std::strerror(errno)));
}

absl::Status WriteAll(int fd, std::string_view text, const std::filesystem::path& path) {
  while (!text.empty()) {
    const ssize_t bytes = write(fd, text.data(), text.size());
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return FileError(path, "cannot write");
    text.remove_prefix(bytes);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<BatchRequest>> ParseBatch(std::string_view text,
                                                     const SamplingFlags& defaults,
                                                     std::string_view source) {
  std::vector<BatchRequest> requests;
  std::map<std::string, int> line_of;
  for (const NumberedLine& line : SplitLines(text)) {
    const std::string what = absl::StrCat(Av(source), " line ", line.number);
    ASSIGN_OR_RETURN(BatchRequest request, ParseRequest(line, defaults, what));
    const auto [other, is_new] = line_of.emplace(request.id, line.number);
    if (!is_new) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": id: \"", request.id, "\" is that of line ", other->second, " too"));
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

absl::StatusOr<FinishedLines> ReadFinished(std::string_view text, std::string_view source) {
  FinishedLines finished;
  for (const NumberedLine& line : SplitLines(text)) {
    const std::string what = absl::StrCat(Av(source), " line ", line.number);
    const absl::StatusOr<Json> json = ParseJson(line.text, what);
    // Without its newline a line may be complete by chance only: its request is done again.
    if (!line.whole) {
      finished.torn = true;
      break;
    }
    if (!json.ok() || !json->is_object() || !json->contains("id") || !(*json)["id"].is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": is not a result; --out must be new or written by `batch`"));
    }
    if (json->contains("error")) {
      ++finished.failed;
      continue;
    }
    finished.ids.insert((*json)["id"].get<std::string>());
    absl::StrAppend(&finished.kept, Av(line.text), "\n");
  }
  return finished;
}

absl::StatusOr<std::unique_ptr<ResultFile>> ResultFile::Open(const std::filesystem::path& path,
                                                             const FinishedLines& finished) {
  constexpr int kMode = 0666;
  if (finished.torn || finished.failed > 0) {
    std::filesystem::path next = path;
    next += ".next";
    const int fd = open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kMode);
    if (fd < 0) return FileError(next, "cannot open");
    const absl::Status written = WriteAll(fd, finished.kept, next);
    const bool on_disk = fsync(fd) == 0;
    close(fd);
    RETURN_IF_ERROR(written);
    if (!on_disk) return FileError(next, "cannot write");
    if (rename(next.c_str(), path.c_str()) != 0) return FileError(path, "cannot replace");
  }
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, kMode);
  if (fd < 0) return FileError(path, "cannot open");
  return std::unique_ptr<ResultFile>(new ResultFile(path, fd));
}

ResultFile::~ResultFile() { close(fd_); }

absl::Status ResultFile::Append(const OutputJson& line) {
  const std::string text = JsonLine(line);
  const std::lock_guard lock(mutex_);
  return WriteAll(fd_, text, path_);
}

}  // namespace headlong
