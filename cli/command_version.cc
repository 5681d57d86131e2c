#include <memory>

#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/json_output.h"
#include "common/version.h"
#include "worker/worker.h"

namespace headlong {

void AddVersionCommand(CommandLine& cli) {
  auto output = std::make_shared<OutputFlag>();
  CLI::App* command = cli.app.add_subcommand("version", "Say which build this is");
  AddOutputFlag(command, output.get());
  command->callback([&cli, output] {
    cli.action = [output] {
      const std::string gpus = BuiltForGpus();
      const std::string devices = gpus.empty() ? "cpu" : absl::StrCat("cpu, cuda: ", gpus);
      const OutputJson json = {
          {"version", Version()}, {"cuda", !gpus.empty()}, {"gpu_architectures", gpus}};
      const absl::Status printed =
          output->json() ? PrintJson(json)
                         : PrintText(absl::StrCat("headlong ", Version(), " (", devices, ")\n"));
      return printed.ok() ? ExitCode::kOk : Fail(printed);
    };
  });
}

}  // namespace headlong
