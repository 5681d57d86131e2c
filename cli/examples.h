// Examples under the help of every command, in one table: a test parses each of them and fails on a
// command without any.
#pragma once

#include "CLI/CLI.hpp"

namespace headlong {

// Adds to every command of the tree what the table has for it, above the exit codes.
void AddExamples(CLI::App& app);

}  // namespace headlong
