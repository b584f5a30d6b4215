#include "libs/telemetry/log.h"

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "libs/base/ids.h"
#include "libs/base/secret.h"
#include "libs/testing/log_capture.h"
#include "libs/testing/temp_dir.h"

namespace dstack::telemetry {
namespace {

// Puts the default back, whatever a case did.
struct RestoreLog {
  ~RestoreLog() { (void)InitLog({}); }
};

TEST_CASE("a line has level, event and pairs") {
  testing::LogCapture capture;
  Info("task started", {{"task_id", JobId("t1")}, {"attempt", 3}, {"image", "a b"}});
  REQUIRE(capture.lines().size() == 1);
  CHECK(capture.lines()[0] == R"(info task started task_id=t1 attempt=3 image="a b")");
}

TEST_CASE("secrets stay secret and statuses print") {
  testing::LogCapture capture;
  Error("failed", {{"token", base::Secret("hunter2")}, {"error", absl::UnavailableError("down")}});
  CHECK(capture.Contains("token=***"));
  CHECK(capture.Contains("UNAVAILABLE: down"));
  CHECK_FALSE(capture.Contains("hunter2"));
}

TEST_CASE("a value cannot forge a line") {
  CHECK(QuoteValue("plain") == "plain");
  CHECK(QuoteValue("") == R"("")");
  CHECK(QuoteValue("a\nb") == R"("a\nb")");
  CHECK(QuoteValue("say \"x\"=\\") == R"("say \"x\"=\\")");
  CHECK(QuoteValue("\x1b[31m") == R"("\u001b[31m")");
  CHECK(QuoteValue("grün") == "grün");
}

TEST_CASE("a capture sees every level and ends with its object") {
  {
    testing::LogCapture capture;
    Debug("detail");
    CHECK(capture.Contains("debug detail"));
  }
  CHECK_FALSE(IsEnabled(Level::kDebug));
}

TEST_CASE("the level filters and the file gets timestamps") {
  RestoreLog restore;
  testing::TempDir dir;
  REQUIRE(InitLog({.level = Level::kWarning, .file = dir.Path("log")}).ok());
  Info("quiet");
  Warn("loud", {{"n", 1}});
  FlushLog();
  const std::string text = *base::ReadFile(dir.Path("log"));
  CHECK_THAT(text, Catch::Matches(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z warning loud n=1\n)"));
}

TEST_CASE("json has one object per line") {
  RestoreLog restore;
  testing::TempDir dir;
  REQUIRE(InitLog({.json = true, .file = dir.Path("log")}).ok());
  Info("said", {{"text", "a \"b\"\n"}});
  FlushLog();
  const std::string text = *base::ReadFile(dir.Path("log"));
  CHECK_THAT(text,
             Catch::EndsWith(R"("level":"info","event":"said","text":"a \"b\"\n"})"
                             "\n"));
}

TEST_CASE("X3 names of levels in any case and digits from 1 to 6") {
  const std::pair<const char*, Level> rows[] = {{"debug", Level::kDebug},
                                                {"DEBUG", Level::kDebug},
                                                {"Trace", Level::kDebug},
                                                {"info", Level::kInfo},
                                                {"InFo", Level::kInfo},
                                                {"WARN", Level::kWarning},
                                                {"warning", Level::kWarning},
                                                {"error", Level::kError},
                                                {"fatal", Level::kError},
                                                {"off", Level::kOff},
                                                {"1", Level::kError},
                                                {"2", Level::kError},
                                                {"3", Level::kWarning},
                                                {"4", Level::kInfo},
                                                {"5", Level::kDebug},
                                                {"6", Level::kDebug}};
  for (const auto& [text, level] : rows) {
    INFO(text);
    CHECK(ParseLevel(text).value() == level);
  }
  // The last is a five in Arabic-Indic digits.
  for (const char* text :
       {"", " ", "0", "7", "8", "9", "10", "-1", "+1", "1 ", " 1", "info ", "01", "\xd9\xa5"}) {
    INFO("'" << text << "'");
    CHECK_FALSE(ParseLevel(text).ok());
  }
  CHECK(ParseLevel("loud").status().message() ==
        "log level 'loud' is not one of debug, info, warning, error, off, 1 to 6");
}

TEST_CASE("a file that cannot be opened is an error") {
  CHECK_FALSE(InitLog({.file = "/proc/none/log"}).ok());
}

}  // namespace
}  // namespace dstack::telemetry
