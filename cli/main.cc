#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"

int main(int argc, char** argv) {
  headlong::InstallInterruptHandlers();
  headlong::Terminal terminal(headlong::ProbeTerminal());
  return static_cast<int>(headlong::RunCommandLine(argc, argv, terminal));
}
