// Looks like a shim until it has to be one. What it does then stands in BAD_SHIM: "hang", else it
// dies.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include <unistd.h>

#include "libs/base/version.h"

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--version") != 0) continue;
    const std::string_view version = dstack::base::Version();
    std::printf("%.*s\n", static_cast<int>(version.size()), version.data());
    return 0;
  }
  const char* mode = std::getenv("BAD_SHIM");
  while (mode != nullptr && std::strcmp(mode, "hang") == 0) ::pause();
  return 3;
}
