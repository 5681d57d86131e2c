// What could come next on a command line that is being typed, read from the tree of commands
// itself: nothing here knows a command or an option by name, but those that say which server is
// meant. Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"

namespace headlong {

struct Candidate {
  std::string word;
  std::string description;
};

// What fills the place when the tree has no list of words for it: by the type that an option or
// argument has in its help.
enum class OpenValue { kNone, kFile, kWorker, kRequest, kContext };

struct Completions {
  std::vector<Candidate> candidates;
  OpenValue open = OpenValue::kNone;
  std::string prefix;                          // stands before every value: "--plan=" of "--plan=f"
  std::map<std::string, std::string> options;  // "--server" -> what was typed behind it
};

// `words` follow the program's name; the last one is being typed and may be empty.
Completions Complete(const CLI::App& app, const std::vector<std::string>& words);

// A script that asks `PROGRAM __complete WORDS...` for "bash", "zsh" or "fish".
absl::StatusOr<std::string> CompletionScript(std::string_view shell);

}  // namespace headlong
