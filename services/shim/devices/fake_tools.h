#pragma once

#include <map>
#include <string>
#include <vector>

#include <absl/status/status.h>
#include <absl/strings/str_join.h>

#include "libs/base/file.h"
#include "libs/testing/paths.h"
#include "services/shim/devices/device_tools.h"

namespace dstack::shim {

// Answers of tools by the beginning of their command line; the longest that fits counts. Any other
// tool is not there.
class FakeTools final : public DeviceTools {
 public:
  void Answer(const std::string& command, absl::StatusOr<std::string> output) {
    answers_.insert_or_assign(command, std::move(output));
  }
  // With a file of tests/fixtures/probes; its README says where each is from.
  void AnswerFile(const std::string& command, const std::string& fixture) {
    Answer(command, Fixture(fixture));
  }

  static std::string Fixture(const std::string& name) {
    return base::ReadFile(testing::SourceDir() + "/tests/fixtures/probes/" + name).value();
  }

  absl::StatusOr<std::string> Run(const std::vector<std::string>& argv,
                                  const std::stop_token&) const override {
    const std::string command = absl::StrJoin(argv, " ");
    const std::string* best = nullptr;
    for (const auto& [prefix, output] : answers_) {
      const bool fits = command.starts_with(prefix);
      if (fits && (best == nullptr || prefix.size() > best->size())) best = &prefix;
    }
    if (best == nullptr) return absl::NotFoundError("there is no program " + argv.front());
    return answers_.at(*best);
  }

 private:
  std::map<std::string, absl::StatusOr<std::string>> answers_;
};

}  // namespace dstack::shim
