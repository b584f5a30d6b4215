// Who can reach a runner: nobody over a network, and over its socket whoever has the job's token.
#include <filesystem>
#include <functional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/testing/await.h"
#include "libs/testing/paths.h"
#include "tests/component/runner_agent/fixture.h"

namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;
using namespace std::chrono_literals;

using Stub = v1::RunnerService::Stub;

// Every call of the service.
std::vector<std::pair<std::string, std::function<grpc::Status(Stub&, grpc::ClientContext*)>>>
Calls() {
  return {{"Session",
           [](Stub& stub, grpc::ClientContext* context) {
             const auto stream = stub.Session(context);
             v1::SessionResponse response;
             while (stream->Read(&response)) {
             }
             return stream->Finish();
           }},
          {"GetJob",
           [](Stub& stub, grpc::ClientContext* context) {
             v1::GetJobResponse response;
             return stub.GetJob(context, {}, &response);
           }},
          {"TailLogs",
           [](Stub& stub, grpc::ClientContext* context) {
             v1::TailLogsResponse response;
             return stub.TailLogs(context, {}, &response);
           }},
          {"StopJob", [](Stub& stub, grpc::ClientContext* context) {
             v1::StopJobResponse response;
             return stub.StopJob(context, {}, &response);
           }}};
}

TEST_CASE("every call wants the token of this job") {
  Fixture f;
  f.Run(MakeShellJob("cat"));
  f.client->AwaitState(v1::JOB_STATE_RUNNING);
  CHECK(Calls().size() ==
        static_cast<std::size_t>(
            v1::SessionRequest::descriptor()->file()->service(0)->method_count()));
  const std::string& token = f.runner.token();
  for (const auto& [name, call] : Calls()) {
    // None, another job's, a longer and a shorter one, another scheme.
    for (const std::string& header : {std::string(),
                                      "Bearer " + std::string(token.size(), 'x'),
                                      "Bearer " + token + "k",
                                      "Bearer " + token.substr(1),
                                      "Basic " + token}) {
      Stub other(grpc::CreateChannel(f.runner.Target(), grpc::InsecureChannelCredentials()));
      grpc::ClientContext context;
      context.set_wait_for_ready(true);
      if (!header.empty()) context.AddMetadata("authorization", header);
      INFO(name << " with '" << header << "'");
      CHECK(call(other, &context).error_code() == grpc::StatusCode::UNAUTHENTICATED);
    }
  }
  CHECK(f.client->status().state() == v1::JOB_STATE_RUNNING);
}

// Inodes of the sockets that a process has.
std::set<std::string> SocketsOf(pid_t pid) {
  std::set<std::string> inodes;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd", error)) {
    const std::string target = std::filesystem::read_symlink(entry.path(), error).string();
    if (target.starts_with("socket:[")) inodes.insert(target.substr(8, target.size() - 9));
  }
  return inodes;
}

TEST_CASE("the runner listens on no network address") {
  Fixture f;
  f.Run(MakeShellJob("cat"));
  f.client->AwaitState(v1::JOB_STATE_RUNNING);
  std::set<std::string> ours = SocketsOf(f.runner.supervisor_pid());
  ours.merge(SocketsOf(f.runner.ServePid()));
  CHECK_FALSE(ours.empty());
  for (const char* table : {"tcp", "tcp6", "udp", "udp6", "raw"}) {
    std::istringstream lines(
        base::ReadFile(std::string("/proc/net/") + table).value_or(std::string()));
    std::string line;
    while (std::getline(lines, line)) {
      std::istringstream words(line);
      const std::vector<std::string> fields{std::istream_iterator<std::string>(words), {}};
      constexpr std::size_t kInode = 9;
      if (fields.size() > kInode) CHECK(ours.count(fields[kInode]) == 0);
    }
  }
}

TEST_CASE("another user of the host, such as another job, reads and reaches nothing of a job") {
  if (geteuid() != 0) return testing::Skip("kernel: not root");
  Fixture victim;
  victim.Run(MakeShellJob("echo secret output; cat"));
  victim.client->AwaitText(LOG_SOURCE_JOB, "secret output");
  // Everything above the task's directory may be open.
  for (auto path = std::filesystem::path(victim.runner.dir()).parent_path(); path != "/tmp";
       path = path.parent_path()) {
    if (path == path.root_path()) break;
    chmod(path.c_str(), 0755);
  }
  Fixture other;
  chmod(std::filesystem::path(other.runner.dir()).parent_path().c_str(), 0755);
  v1::JobSpec job = MakeShellJob("id -un; cd " + victim.runner.dir() + " && echo entered; cat " +
                                 victim.runner.Path("token") + " && echo read; grep -r secret " +
                                 victim.runner.Path("spool") + " && echo read; env");
  job.mutable_user()->set_username("nobody");
  other.Run(job);
  other.Finish();
  const std::string& text = other.store.text[LOG_SOURCE_JOB];
  INFO(text);
  CHECK(text.starts_with("nobody\n"));
  CHECK(text.find("entered") == std::string::npos);
  CHECK(text.find("read\n") == std::string::npos);
  CHECK(text.find("secret output") == std::string::npos);
  // Its own token is not handed to it either.
  CHECK(text.find(other.runner.token()) == std::string::npos);
}

}  // namespace
}  // namespace dstack::runner
