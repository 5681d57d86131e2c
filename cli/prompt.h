// The prompt of a command line: text, a file, or token ids, checked before anything is sent.
#pragma once

#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/flags.h"
#include "headlong/v1/inference.pb.h"

namespace headlong {

struct PromptFlags {
  std::optional<std::string> text;
  std::optional<std::string> file;
  std::optional<std::string> ids_file;
};
// Exactly one of them must be given.
void AddPromptFlags(CLI::App* command, PromptFlags* flags);

// Sets the prompt of `request`. Errors name the flag, and the byte where a text stops being UTF-8.
absl::Status SetPrompt(const PromptFlags& flags, v1::GenerateRequest* request);

void SetSampling(const SamplingFlags& flags, v1::GenerateRequest* request);

// A whole file, which may be a pipe; "-" is standard input. `flag` names it in errors.
absl::StatusOr<std::string> ReadInput(const std::string& path, const std::string& flag);

// INVALID_ARGUMENT with the byte where `text` stops being UTF-8.
absl::Status CheckUtf8(const std::string& text, const std::string& what);

}  // namespace headlong
