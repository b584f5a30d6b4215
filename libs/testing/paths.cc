#include "libs/testing/paths.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace dstack::testing {
namespace {

namespace fs = std::filesystem;

// Nearest directory at or above the program that holds `name`.
fs::path FindUp(std::string_view name) {
  std::error_code error;
  fs::path directory = fs::read_symlink("/proc/self/exe", error).parent_path();
  while (!error && !directory.empty()) {
    if (fs::exists(directory / name, error)) return directory;
    if (directory == directory.parent_path()) break;
    directory = directory.parent_path();
  }
  std::fprintf(stderr, "the test program does not lie below a directory with %s\n", name.data());
  std::abort();
}

}  // namespace

std::string SourceDir() { return FindUp("CMakePresets.json").string(); }

std::string BuildDir() { return FindUp("CMakeCache.txt").string(); }

std::string Binary(std::string_view name) { return (fs::path(BuildDir()) / "bin" / name).string(); }

std::string StaticBinary(std::string_view name) {
  const fs::path without_sanitizer = fs::path(BuildDir()) / "static" / "bin" / name;
  std::error_code error;
  return fs::exists(without_sanitizer, error) ? without_sanitizer.string() : Binary(name);
}

}  // namespace dstack::testing
