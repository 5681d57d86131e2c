#include "cli/output_flags.h"

namespace headlong {

void AddOutputFlag(CLI::App* command, OutputFlag* flag) {
  command->add_option("-o,--output", flag->format, "text, or json: one document on stdout")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
}

void AddFormatFlag(CLI::App* command, FormatFlag* flag, const std::vector<std::string>& more) {
  std::vector<std::string> formats{"table", "wide", "json", "name"};
  formats.insert(formats.end(), more.begin(), more.end());
  const auto old_name = [](std::string& value) {
    if (value == "text") value = "table";
    return std::string();
  };
  command
      ->add_option("-o,--output", flag->format,
                   "table, wide, json: one document on stdout, or name: names alone")
      ->check(CLI::IsMember(formats))
      ->transform(CLI::Validator(old_name, ""))
      ->capture_default_str();
}

void AddDryRunFlag(CLI::App* command, bool* dry_run) {
  command->add_flag("--dry-run", *dry_run, "Only say whether it would be done; changes nothing");
}

}  // namespace headlong
