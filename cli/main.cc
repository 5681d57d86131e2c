#include <unistd.h>

#include <cstdlib>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/own_program.h"
#include "cli/terminal.h"

namespace {

// Worker processes that share a machine must not spin for milliseconds at every OpenMP barrier
// while another one wants the core: 10,000 turns are about 0.1 ms. libgomp reads its environment
// before main: only a program started anew sees what is set here. If that fails, it is slower.
void RestartWithShortSpins(char** argv) {
  if (getenv("GOMP_SPINCOUNT") != nullptr || getenv("OMP_WAIT_POLICY") != nullptr) return;
  setenv("GOMP_SPINCOUNT", "10000", /*overwrite=*/0);
  execv(headlong::OwnProgram().c_str(), argv);
}

}  // namespace

int main(int argc, char** argv) {
  RestartWithShortSpins(argv);
  // What gRPC logs of its own accord (a port in use, a lost peer) is said again in words of ours.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  // Names are what the system says they are. gRPC's own resolver asks for more than addresses, and
  // where no name server answers that takes longer than a worker waits for its coordinator.
  setenv("GRPC_DNS_RESOLVER", "native", /*overwrite=*/0);
  headlong::InstallInterruptHandlers();
  headlong::Terminal terminal(headlong::ProbeTerminal());
  return static_cast<int>(headlong::RunCommandLine(argc, argv, terminal));
}
