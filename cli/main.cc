#include <cstdlib>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"

int main(int argc, char** argv) {
  // Worker processes that share a machine must not spin for milliseconds at every OpenMP barrier
  // while another one wants the core: 10,000 turns are about 0.1 ms. Read by the children.
  setenv("GOMP_SPINCOUNT", "10000", /*overwrite=*/0);
  // What gRPC logs of its own accord (a port in use, a lost peer) is said again in words of ours.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  headlong::InstallInterruptHandlers();
  headlong::Terminal terminal(headlong::ProbeTerminal());
  return static_cast<int>(headlong::RunCommandLine(argc, argv, terminal));
}
