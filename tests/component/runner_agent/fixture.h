#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "libs/testing/sanitizer.h"
#include "tests/component/runner_agent/runner_process.h"
#include "tests/component/runner_agent/session_client.h"

namespace dstack::runner {

// A runner with one session, up to the start of the job.
struct Fixture {
  explicit Fixture(std::vector<std::string> flags = {}) : runner(std::move(flags)) {}

  void Run(const v1::JobSpec& job) {
    runner.Start();
    client.emplace(runner.Target(), runner.token(), store);
    client->Submit(job);
    CHECK(client->AwaitFilesNeeded().empty());
    client->StartJob();
  }
  v1::JobStatus Finish() {
    const v1::JobStatus status = client->AwaitState(v1::JOB_STATE_FINISHED);
    client->AwaitEndOfLogs();
    return status;
  }
  process::Exit Leave() {
    client->AckEnd();
    CHECK(client->AwaitClosed().ok());
    return runner.Wait();
  }
  // No flood may have cost more, in programs without optimization. Nothing is checked with
  // AddressSanitizer.
  void CheckMemory() const {
    if (testing::kHasAddressSanitizer) return;
    CHECK(PeakKib(runner.ServePid()) < 60'000);
    CHECK(PeakKib(runner.supervisor_pid()) < 40'000);
  }

  RunnerProcess runner;
  ServerStore store;
  std::optional<SessionClient> client;
};

}  // namespace dstack::runner
