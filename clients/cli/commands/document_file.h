// The configuration file of a command.
#pragma once

#include <string>
#include <variant>

#include <absl/status/statusor.h>

#include "dstack/config/v1/fleet.pb.h"
#include "dstack/config/v1/run.pb.h"

#include "clients/cli/commands/context.h"

namespace dstack::cli {

struct DocumentFile {
  std::variant<config::v1::RunConfiguration, config::v1::FleetConfiguration> configuration;
  // As typed.
  std::string shown_path;
  // Directory that its relative paths start from; empty for standard input.
  std::string directory;
};

// A file as it is, not checked.
struct DocumentText {
  std::string text;
  std::string shown_path;  // as typed; `<stdin>` for standard input
  std::string directory;   // that its relative paths start from; empty for standard input
};

// Finds the file as LoadDocument does, and reads it.
absl::StatusOr<DocumentText> ReadDocumentText(const Environment& environment,
                                              const std::string& file);

// Reads and checks the file: "-" is standard input, "" is `.dstack.yml`, then `.dstack.yaml` in the
// working directory. Warnings go to the terminal. Refused: documents of a kind that this version
// understands but cannot apply.
absl::StatusOr<DocumentFile> LoadDocument(const Context& context, const std::string& file);

// "task", "dev-environment", "service", "fleet".
std::string KindOf(
    const std::variant<config::v1::RunConfiguration, config::v1::FleetConfiguration>& document);

}  // namespace dstack::cli
