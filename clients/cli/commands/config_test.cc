#include <string>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <nlohmann/json.hpp>

#include "clients/cli/commands/config_commands.h"
#include "clients/cli/commands/profiles.h"
#include "clients/cli/session/project_store.h"
#include "libs/base/file.h"
#include "libs/testing/temp_dir.h"

namespace dstack::cli {
namespace {

// A user in a directory of their own, whose screen is a file.
class User {
 public:
  User() {
    environment_.home = dir_.Path("home");
    environment_.working_directory = dir_.path();
  }

  void Write(const std::string& name, const std::string& text) {
    const std::string path = dir_.Path(name);
    REQUIRE(base::MakeDirs(path.substr(0, path.rfind('/'))).ok());
    REQUIRE(base::WriteFileAtomic(path, text).ok());
  }

  template <typename Options>
  absl::StatusOr<int> Run(absl::StatusOr<int> (*command)(const Context&, const Options&),
                          const Options& options) {
    const base::UniqueFd screen(
        open(dir_.Path("screen").c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    const base::UniqueFd nothing(open("/dev/null", O_RDONLY | O_CLOEXEC));
    Terminal terminal(environment_,
                      {.in = nothing.get(), .out = screen.get(), .err = screen.get()});
    const ProjectStore store(dir_.Path("home/.dstack/config.yml"));
    absl::StatusOr<int> result =
        command({.environment = environment_, .store = store, .terminal = terminal}, options);
    screen_ = base::ReadFile(dir_.Path("screen"), 1 << 20).value_or("");
    return result;
  }

  Environment& environment() { return environment_; }
  const std::string& screen() const { return screen_; }
  bool Sees(const std::string& text) const { return screen_.find(text) != std::string::npos; }

 private:
  testing::TempDir dir_;
  Environment environment_;
  std::string screen_;
};

TEST_CASE("config check tells about each file, and fails when one is wrong") {
  User user;
  user.Write("good.yml", "type: task\ncommands: [x]\n");
  user.Write("bad.yml", "type: task\ncomands: [x]\n");
  CHECK(*user.Run(CheckConfigs, CheckConfigOptions{.files = {"good.yml"}}) == 0);
  CHECK(user.screen() == "good.yml is a valid task\n");
  CHECK(*user.Run(CheckConfigs, CheckConfigOptions{.files = {"good.yml", "bad.yml", "no.yml"}}) ==
        1);
  CHECK(user.Sees("good.yml is a valid task"));
  CHECK(user.Sees("did you mean `commands`?"));
  CHECK(user.Sees("no.yml"));
  user.Write("odd.yml", "type: task\ncommands: [x]\nresources: {gpu: {name: []}}\n");
  CHECK(*user.Run(CheckConfigs, CheckConfigOptions{.files = {"odd.yml"}}) == 0);
  CHECK(user.screen().starts_with("warning: odd.yml:3:"));
  CHECK(user.Sees("odd.yml is a valid task"));
  // Without a name, the file that `apply` would take.
  user.Write(".dstack.yml", "type: volume\nbackend: aws\nregion: r\nsize: 1GB\n");
  CHECK(*user.Run(CheckConfigs, CheckConfigOptions{}) == 0);
  CHECK(user.screen() == ".dstack.yml is a valid volume\n");
}

TEST_CASE("config check --json has the place of each problem") {
  User user;
  user.Write("bad.yml", "type: task\ncommands: [x]\nnodes: 0\n");
  CHECK(*user.Run(CheckConfigs, CheckConfigOptions{.files = {"bad.yml"}, .json = true}) == 1);
  const auto file = nlohmann::json::parse(user.screen())["files"][0];
  CHECK(file["valid"] == false);
  REQUIRE(file["problems"].size() == 1);
  CHECK(file["problems"][0]["line"] == 3);
  CHECK(file["problems"][0]["column"] == 8);
  CHECK(file["problems"][0]["field"] == "nodes");
}

TEST_CASE("config show fills in defaults and the profile, and hides secrets") {
  User user;
  user.Write(".dstack/profiles.yml", "profiles: [{name: p, default: true, max_price: 2}]\n");
  user.Write("t.yml", "type: task\ncommands: [x]\nenv: [TOKEN=hunter2]\n");
  CHECK(*user.Run(ShowConfig, ShowConfigOptions{.file = "t.yml"}) == 0);
  CHECK(user.Sees("max_price: 2.0"));
  CHECK(user.Sees("min: 100.0"));
  CHECK_FALSE(user.Sees("hunter2"));
  CHECK(*user.Run(ShowConfig,
                  ShowConfigOptions{.file = "t.yml", .no_profile = true, .show_secrets = true}) ==
        0);
  CHECK(user.Sees("max_price: null"));
  CHECK(user.Sees("TOKEN: hunter2"));
}

TEST_CASE("config schema prints the schema of a type, and refuses an unknown one") {
  User user;
  CHECK(*user.Run(PrintConfigSchema, ConfigSchemaOptions{.type = "fleet"}) == 0);
  CHECK(nlohmann::json::parse(user.screen())["properties"].contains("ssh_config"));
  CHECK_FALSE(user.Run(PrintConfigSchema, ConfigSchemaOptions{.type = "x"}).ok());
}

TEST_CASE("DSTACK_NO_PROFILE is a boolean") {
  User user;
  user.Write(".dstack/profiles.yml", "profiles: [{name: p, default: true}]\n");
  user.environment().variables["DSTACK_NO_PROFILE"] = "off";
  CHECK((*ChooseProfile(user.environment(), "", false))->name() == "p");
  user.environment().variables["DSTACK_NO_PROFILE"] = "maybe";
  CHECK_FALSE(ChooseProfile(user.environment(), "", false).ok());
}

}  // namespace
}  // namespace dstack::cli
