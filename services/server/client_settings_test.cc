#include "services/server/client_settings.h"

#include <catch2/catch.hpp>
#include <sys/stat.h>

#include "libs/base/file.h"
#include "libs/config/document.h"
#include "libs/testing/temp_dir.h"

namespace dstack::server {
namespace {

bool Never(const std::string&) { return false; }
bool Always(const std::string&) { return true; }

config::v1::ClientConfig Read(const std::string& home) {
  auto text = base::ReadFile(home + "/config.yml");
  REQUIRE(text.ok());
  auto config = config::ParseClientConfig(*text, "config.yml");
  REQUIRE(config.ok());
  return *std::move(config);
}

TEST_CASE("a missing entry is written without asking") {
  testing::TempDir dir;
  const std::string home = dir.Path("client");
  const base::Secret token("t1");
  auto result =
      UpdateClientSettings(home, "http://127.0.0.1:3000", token, ClientUpdate::kAsk, Never);
  REQUIRE(result.ok());
  CHECK(*result == ClientSettingsResult::kWritten);
  struct stat info {};
  REQUIRE(stat((home + "/config.yml").c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  const auto config = Read(home);
  REQUIRE(config.projects_size() == 1);
  CHECK(config.projects(0).name() == "main");
  CHECK(config.projects(0).is_default());
  CHECK(config.projects(0).token() == "t1");
  result = UpdateClientSettings(home, "http://127.0.0.1:3000", token, ClientUpdate::kAsk, Never);
  CHECK(*result == ClientSettingsResult::kUnchanged);
}

TEST_CASE("another server's entry is replaced only when the person says so; others stay") {
  testing::TempDir dir;
  REQUIRE(base::WriteFileAtomic(dir.Path("config.yml"),
                                "projects:\n"
                                "- {name: main, url: 'http://other:3000', token: t0}\n"
                                "- {name: lab, url: 'http://lab:3000', token: t9, default: true}\n",
                                0600)
              .ok());
  const base::Secret token("t1");
  CHECK(*UpdateClientSettings(dir.path(), "http://x:1", token, ClientUpdate::kNo, Always) ==
        ClientSettingsResult::kKept);
  CHECK(*UpdateClientSettings(dir.path(), "http://x:1", token, ClientUpdate::kAsk, Never) ==
        ClientSettingsResult::kKept);
  CHECK(Read(dir.path()).projects(0).token() == "t0");
  CHECK(*UpdateClientSettings(dir.path(), "http://x:1", token, ClientUpdate::kYes, Never) ==
        ClientSettingsResult::kWritten);
  const auto config = Read(dir.path());
  REQUIRE(config.projects_size() == 2);
  CHECK(config.projects(0).url() == "http://x:1");
  CHECK_FALSE(config.projects(0).is_default());
  CHECK(config.projects(1).is_default());
}

TEST_CASE("settings that cannot be read stay as they are") {
  testing::TempDir dir;
  REQUIRE(base::WriteFileAtomic(dir.Path("config.yml"), "projects: 7\n", 0600).ok());
  CHECK_FALSE(
      UpdateClientSettings(dir.path(), "http://x:1", base::Secret("t"), ClientUpdate::kYes, Always)
          .ok());
  CHECK(*base::ReadFile(dir.Path("config.yml")) == "projects: 7\n");
}

}  // namespace
}  // namespace dstack::server
