// The real program `dstack` against a FakeServer.
#pragma once

#include <string>
#include <vector>

#include "libs/base/file.h"
#include "libs/process/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "tests/component/cli_server/cli_fakes.h"

namespace dstack::cli {

// A user with a home directory and a project on the server.
class CliUser {
 public:
  explicit CliUser(const FakeServer& server);

  // Environment of the program, NAME=value.
  std::vector<std::string> Env() const;
  // Runs it to its end; fails the test case after 30 s.
  process::RunResult Run(const std::vector<std::string>& arguments,
                         const std::string& input = "") const;
  // Starts it with pipes to standard output and error.
  process::Subprocess Start(const std::vector<std::string>& arguments) const;

  std::string WriteFile(const std::string& name, const std::string& text) const;
  const std::string& home() const { return home_.path(); }

 private:
  const FakeServer& server_;
  testing::TempDir home_;
};

// The program on a terminal of its own, 80 columns wide.
class CliOnTerminal {
 public:
  CliOnTerminal(const CliUser& user, const std::vector<std::string>& arguments);
  ~CliOnTerminal();
  CliOnTerminal(const CliOnTerminal&) = delete;
  CliOnTerminal& operator=(const CliOnTerminal&) = delete;

  // Types, "\x03" is Ctrl-C.
  void Type(const std::string& keys);
  // Waits until the screen has shown the text.
  void AwaitText(const std::string& text);
  // Waits for the end; exit code, or 128 + signal.
  int AwaitExit();
  const std::string& screen() const { return screen_; }

 private:
  void ReadAvailable();

  base::UniqueFd terminal_;
  int pid_ = -1;
  std::string screen_;
};

}  // namespace dstack::cli
