// Text to a tree of values: the YAML 1.1 dialect of the reference system, with limits.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/statusor.h>

#include "libs/config/node.h"
#include "libs/config/problem.h"

namespace dstack::config {

inline constexpr size_t kMaxDocumentBytes = 1 << 20;
inline constexpr int kMaxDocumentDepth = 100;
// Values of a document with all aliases expanded; ordinary documents have hundreds.
inline constexpr uint64_t kMaxDocumentValues = 30'000;

struct LoadedYaml {
  NodePtr root;  // not null; an empty document is a null value
  std::vector<Problem> warnings;
};

// Reads one document. Anchors, aliases and `<<` merge keys work; of duplicate keys the last one
// wins with a warning; a byte order mark and CRLF are accepted. Refused, with the place: more than
// kMaxDocumentBytes, kMaxDocumentDepth or kMaxDocumentValues, a second document, text that is not
// UTF-8, control characters, keys that are lists or mappings, unknown tags. `file` is used in
// messages alone.
absl::StatusOr<LoadedYaml> LoadYaml(std::string_view text, const std::string& file);

// The same; nullopt with an entry in `problems` where the text is refused.
std::optional<LoadedYaml> LoadYaml(std::string_view text,
                                   const std::string& file,
                                   std::vector<Problem>* problems);

}  // namespace dstack::config
