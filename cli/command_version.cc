#include <memory>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/json_output.h"

namespace headlong {

void AddVersionCommand(CommandLine& cli) {
  auto output = std::make_shared<OutputFlag>();
  CLI::App* command = cli.app.add_subcommand("version", "Say which build this is");
  AddOutputFlag(command, output.get());
  command->callback([&cli, output] {
    cli.action = [output] {
      const OutputJson json = {{"version", HEADLONG_VERSION}, {"cuda", false}};
      const absl::Status printed =
          output->json() ? PrintJson(json) : PrintText("headlong " HEADLONG_VERSION " (cpu)\n");
      return printed.ok() ? ExitCode::kOk : Fail(printed);
    };
  });
}

}  // namespace headlong
