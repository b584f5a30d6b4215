#pragma once

#include <string>
#include <string_view>
#include <vector>

// A command on a remote machine is one text that the login shell there reads: ssh knows no argument
// list. This is the only place where words become such a text.
namespace dstack::ssh {

// One word for any POSIX shell, whatever bytes it holds (NUL cannot be passed and is left out).
std::string QuoteWord(std::string_view word);

// The words of a command, quoted and separated by blanks.
std::string QuoteCommand(const std::vector<std::string>& argv);

}  // namespace dstack::ssh
