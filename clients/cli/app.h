#pragma once

#include <string>
#include <vector>

namespace dstack::cli {

// The whole program: reads the command line, runs one command, prints its error. `arguments` are
// those after the program's name. Returns the exit code: 0, 1 for errors, 2 for a wrong command
// line, or what the command says.
int RunApp(const std::vector<std::string>& arguments);

}  // namespace dstack::cli
