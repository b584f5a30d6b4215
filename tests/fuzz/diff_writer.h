// Diffs that git nearly takes. A fuzzer that changes bytes at random would hardly ever get past the
// first check of git, which is a program of its own and not instrumented.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace dstack::fuzz {

struct KnownFile {
  std::string_view path;
  std::string_view content;
};

// What stands in the work tree that the diffs are for.
inline constexpr std::array<KnownFile, 3> kKnownFiles = {
    KnownFile{"text", "one\ntwo\nthree\nfour\n"},
    KnownFile{"deep/er/file", "deep\n"},
    KnownFile{"no_last_newline", "first\nlast"},
};

// Links in the work tree; `outside` is a directory beside it.
inline constexpr std::array<KnownFile, 3> kKnownLinks = {
    KnownFile{"inside", "deep"},
    KnownFile{"way_out", "../outside"},
    KnownFile{"file_out", "../outside/kept"},
};

// Reads `choices` as a list of decisions: which files are edited, made, deleted, renamed, copied,
// turned into links or submodules, under which (mostly hostile) paths, and what is then damaged.
// `outside` is an absolute path that no diff may reach. Pure.
std::string WriteDiff(std::string_view choices, std::string_view outside);

}  // namespace dstack::fuzz
