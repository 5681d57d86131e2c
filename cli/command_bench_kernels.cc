// `bench kernels`: what each kernel reaches of what this machine can do.
#include <memory>

#include "absl/strings/str_format.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/json_output.h"
#include "cli/quantity.h"
#include "cli/table.h"
#include "worker/kernel_bench.h"

namespace headlong {
namespace {

std::string FormatTime(double seconds) {
  return seconds < 1e-3 ? absl::StrFormat("%.1f us", seconds * 1e6)
                        : absl::StrFormat("%.2f ms", seconds * 1e3);
}

bool HasCeiling(const KernelRate& rate) { return rate.bytes > 0 || rate.flops > 0; }

std::string FormatRate(const KernelRate& rate, const Ceilings& ceilings) {
  if (!HasCeiling(rate)) return "-";
  return IsMemoryBound(rate, ceilings)
             ? absl::StrFormat("%.1f GB/s", rate.bytes / rate.seconds * 1e-9)
             : absl::StrFormat("%.1f GFLOP/s", rate.flops / rate.seconds * 1e-9);
}

std::string KernelText(const KernelReport& report) {
  Table table({"operation", "shape", ">time", ">rate", ">of ceiling"});
  for (const KernelRate& rate : report.rates) {
    table.Row({rate.operation, rate.shape, FormatTime(rate.seconds),
               FormatRate(rate, report.ceilings),
               HasCeiling(rate) ? FormatPercent(ShareOfCeiling(rate, report.ceilings)) : "-"});
  }
  return absl::StrFormat(
      "%s\nThe first two rows are the ceilings of the rest: reading memory, and %s.\n"
      "%s; above 100 %%: the data came from a cache.\n",
      table.Text(), report.matmul_ceiling, report.device);
}

OutputJson KernelJson(const KernelReport& report) {
  OutputJson kernels = OutputJson::array();
  for (const KernelRate& rate : report.rates) {
    kernels.push_back({{"operation", rate.operation},
                       {"shape", rate.shape},
                       {"bytes", rate.bytes},
                       {"flops", rate.flops},
                       {"seconds", rate.seconds},
                       {"share_of_ceiling", ShareOfCeiling(rate, report.ceilings)}});
  }
  return {{"device", report.device},
          {"ceilings",
           {{"read_bytes_per_second", report.ceilings.bytes_per_second},
            {"matmul_flops_per_second", report.ceilings.flops_per_second}}},
          {"kernels", kernels}};
}

struct BenchKernelsFlags {
  std::string device = "cpu";
  int gpu = -1;
  OutputFlag output;
};

ExitCode RunKernels(const BenchKernelsFlags& flags, Terminal& terminal) {
  Progress progress(terminal, "kernels");
  const KernelProgress show = [&](size_t done, size_t total, const std::string& operation) {
    progress.Update({static_cast<double>(done), static_cast<double>(total), operation});
    return !Interrupted();
  };
  const auto report =
      flags.device == "cuda" ? BenchKernelsCuda(flags.gpu, show) : BenchKernelsCpu(show);
  const bool json = flags.output.json();
  if (!report.ok()) return Fail(report.status());
  const absl::Status printed =
      json ? PrintJson(KernelJson(*report)) : PrintText(KernelText(*report));
  return printed.ok() ? ExitCode::kOk : Fail(printed);
}

}  // namespace

void AddBenchKernelsCommand(CommandLine& cli, CLI::App* bench) {
  auto flags = std::make_shared<BenchKernelsFlags>();
  CLI::App* command = bench->add_subcommand(
      "kernels", "What each kernel reaches of what this machine can do, in about half a minute");
  command->add_option("--device", flags->device, "cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  command->add_option("--gpu", flags->gpu, "Which GPU, counted from 0")->check(CLI::Range(0, 1023));
  AddOutputFlag(command, &flags->output);
  command->callback(
      [&cli, flags] { cli.action = [&cli, flags] { return RunKernels(*flags, cli.terminal); }; });
}

}  // namespace headlong
