#include "cli/completion.h"

#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace headlong {
namespace {

// Where the words typed so far lead.
struct Place {
  const CLI::App* app = nullptr;
  const CLI::Option* awaits = nullptr;  // an option whose value comes next
  size_t positionals = 0;               // typed already
  bool only_positionals = false;        // after "--"
  std::set<const CLI::Option*> seen;
  std::map<std::string, std::string> options;
};

bool Hidden(const CLI::Option& option) { return option.get_group().empty(); }

bool TakesValue(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

std::vector<const CLI::App*> Below(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// Groups of options are commands without a name.
std::vector<const CLI::Option*> OptionsOf(const CLI::App& app) {
  std::vector<const CLI::Option*> options = app.get_options();
  for (const CLI::App* group : Below(app)) {
    if (!group->get_name().empty()) continue;
    for (const CLI::Option* option : group->get_options()) {
      if (option != group->get_help_ptr()) options.push_back(option);  // the command has its own
    }
  }
  return options;
}

const CLI::Option* FindOption(const CLI::App& app, const std::string& name) {
  for (const CLI::Option* option : OptionsOf(app)) {
    for (const std::string& each : option->get_lnames()) {
      if ("--" + each == name) return option;
    }
    for (const std::string& each : option->get_snames()) {
      if ("-" + each == name) return option;
    }
  }
  return nullptr;
}

const CLI::App* FindCommand(const CLI::App& app, const std::string& name) {
  for (const CLI::App* command : Below(app)) {
    if (!name.empty() && command->get_name() == name) return command;
  }
  return nullptr;
}

void Step(const std::string& word, Place& place) {
  if (place.awaits != nullptr) {
    for (const std::string& name : place.awaits->get_lnames()) place.options["--" + name] = word;
    place.awaits = nullptr;
    return;
  }
  if (!place.only_positionals && word == "--") {
    place.only_positionals = true;
  } else if (!place.only_positionals && word.size() > 1 && word[0] == '-') {
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const CLI::Option* option = FindOption(*place.app, name);
    if (option == nullptr) return;
    place.seen.insert(option);
    if (equals != std::string::npos) {
      place.options[name] = word.substr(equals + 1);
    } else if (TakesValue(*option)) {
      place.awaits = option;
    } else {
      place.options[name] = "true";
    }
  } else if (const CLI::App* command = FindCommand(*place.app, word); command != nullptr) {
    place.app = command;
    place.positionals = 0;
  } else {
    ++place.positionals;
  }
}

// "{auto,cpu,cuda}" in the type that the help shows.
std::vector<std::string> ListedValues(const std::string& type) {
  const size_t begin = type.find('{');
  const size_t end = type.find('}', begin);
  if (begin == std::string::npos || end == std::string::npos) return {};
  return absl::StrSplit(type.substr(begin + 1, end - begin - 1), ',');
}

OpenValue OpenValueOf(const std::string& type) {
  if (type == "WORKER") return OpenValue::kWorker;
  if (type == "REQUEST") return OpenValue::kRequest;
  if (type == "CONTEXT") return OpenValue::kContext;
  return absl::StartsWith(type, "TEXT") ? OpenValue::kFile : OpenValue::kNone;
}

void AddValues(const CLI::Option& option, const std::string& typed, Completions& out) {
  const std::string type = option.get_type_name();
  const std::vector<std::string> values = ListedValues(type);
  for (const std::string& value : values) {
    if (absl::StartsWith(value, typed)) out.candidates.push_back({out.prefix + value, ""});
  }
  if (values.empty()) out.open = OpenValueOf(type);
}

void AddOptions(const Place& place, const std::string& typed, Completions& out) {
  for (const CLI::Option* option : OptionsOf(*place.app)) {
    const bool again = option->get_items_expected_max() > 1 || place.seen.count(option) == 0;
    if (Hidden(*option) || !again) continue;
    for (const std::string& name : option->get_lnames()) {
      const std::string word = "--" + name;
      if (absl::StartsWith(word, typed)) {
        out.candidates.push_back({word, option->get_description()});
      }
    }
  }
}

void AddCommands(const CLI::App& app, const std::string& typed, Completions& out) {
  for (const CLI::App* command : Below(app)) {
    if (command->get_name().empty()) continue;
    if (command->get_group().empty() || !absl::StartsWith(command->get_name(), typed)) continue;
    out.candidates.push_back({command->get_name(), command->get_description()});
  }
}

void AddPositional(const Place& place, const std::string& typed, Completions& out) {
  size_t index = 0;
  for (const CLI::Option* option : OptionsOf(*place.app)) {
    if (!option->get_positional() || Hidden(*option)) continue;
    const bool more = option->get_items_expected_max() > 1;
    if (more || index++ == place.positionals) return AddValues(*option, typed, out);
  }
}

}  // namespace

Completions Complete(const CLI::App& app, const std::vector<std::string>& words) {
  Place place;
  place.app = &app;
  for (size_t i = 0; i + 1 < words.size(); ++i) Step(words[i], place);
  Completions out;
  out.options = place.options;
  const std::string typed = words.empty() ? "" : words.back();
  if (place.awaits != nullptr) {
    AddValues(*place.awaits, typed, out);
  } else if (!place.only_positionals && absl::StartsWith(typed, "-")) {
    const size_t equals = typed.find('=');
    const CLI::Option* option =
        equals == std::string::npos ? nullptr : FindOption(*place.app, typed.substr(0, equals));
    if (option == nullptr) {
      AddOptions(place, typed, out);
    } else {
      out.prefix = typed.substr(0, equals + 1);
      AddValues(*option, typed.substr(equals + 1), out);
    }
  } else {
    AddCommands(*place.app, typed, out);
    AddPositional(place, typed, out);
  }
  std::sort(out.candidates.begin(), out.candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.word < b.word; });
  return out;
}

}  // namespace headlong
