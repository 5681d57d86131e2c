#include "cli/prompt.h"

#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "cli/quantity.h"
#include "common/json.h"
#include "common/status.h"
#include "model/utf8.h"

namespace headlong {
namespace {

constexpr int64_t kMaxInputBytes = int64_t{4} << 30;

}  // namespace

void AddPromptFlags(CLI::App* command, PromptFlags* flags) {
  CLI::Option_group* group = command->add_option_group("Prompt");
  group->add_option("--prompt", flags->text, "The prompt itself");
  group->add_option("--prompt-file", flags->file, "Read it from a file; -: standard input");
  group->add_option("--prompt-ids", flags->ids_file,
                    "Token ids from a file: a JSON array, or numbers separated by white space");
  group->require_option(1);
}

absl::StatusOr<std::string> ReadInput(const std::string& path, const std::string& flag) {
  const auto rest = [](std::istream& in) {
    return std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  };
  if (path == "-") return rest(std::cin);
  std::error_code error;
  if (std::filesystem::is_fifo(path, error)) {  // `--prompt-file <(command)`
    std::ifstream pipe(path, std::ios::binary);
    return rest(pipe);
  }
  absl::StatusOr<std::string> text = ReadFile(path, kMaxInputBytes);
  if (!text.ok()) return Annotate(text.status(), flag);
  return text;
}

absl::Status CheckUtf8(const std::string& text, const std::string& what) {
  const size_t valid = ValidUtf8Prefix(text);
  if (valid == text.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(what, ": not valid UTF-8 at byte ", valid));
}

absl::Status SetPrompt(const PromptFlags& flags, v1::GenerateRequest* request) {
  if (flags.ids_file) {
    ASSIGN_OR_RETURN(const std::string text, ReadInput(*flags.ids_file, "--prompt-ids"));
    ASSIGN_OR_RETURN(const std::vector<uint32_t> ids,
                     ParseTokenIds(text, absl::StrCat("--prompt-ids ", *flags.ids_file)));
    request->mutable_token_ids()->mutable_ids()->Add(ids.begin(), ids.end());
    return absl::OkStatus();
  }
  std::string text = flags.text.value_or("");
  if (flags.file) {
    ASSIGN_OR_RETURN(text, ReadInput(*flags.file, "--prompt-file"));
  }
  RETURN_IF_ERROR(
      CheckUtf8(text, flags.file ? absl::StrCat("--prompt-file ", *flags.file) : "--prompt"));
  request->set_text(std::move(text));
  return absl::OkStatus();
}

void SetSampling(const SamplingFlags& flags, v1::GenerateRequest* request) {
  request->set_temperature(static_cast<float>(flags.temperature));
  if (flags.max_tokens) request->set_max_tokens(*flags.max_tokens);
  if (flags.top_p) request->set_top_p(static_cast<float>(*flags.top_p));
  if (flags.top_k) request->set_top_k(*flags.top_k);
  if (flags.min_p) request->set_min_p(static_cast<float>(*flags.min_p));
  if (flags.seed) request->set_seed(*flags.seed);
  for (const std::string& stop : flags.stop) request->add_stop(stop);
  if (flags.logprobs) request->set_logprobs(*flags.logprobs);
  if (flags.ignore_eos) request->set_ignore_eos(true);
}

}  // namespace headlong
