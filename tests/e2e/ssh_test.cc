// A login into a running job by a client that trusts nothing but the key that the API names.
#include <chrono>
#include <string>

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include "dstack/api/v1/run_service.grpc.pb.h"

#include "libs/base/file.h"
#include "libs/process/subprocess.h"
#include "libs/rpc/channel.h"
#include "libs/ssh/keys.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_cluster.h"
#include "libs/testing/temp_dir.h"

namespace dstack {
namespace {

using namespace std::chrono_literals;
using testing::MiniCluster;

// Runs of project `main`, as the admin.
class Runs {
 public:
  explicit Runs(const MiniCluster& cluster)
      : token_(base::ReadFile(cluster.server_home() + "/admin_token").value()),
        stub_(api::v1::RunService::NewStub(grpc::CreateChannel(
            fmt::format("127.0.0.1:{}", cluster.port()), grpc::InsecureChannelCredentials()))) {
    token_.erase(token_.find_last_not_of('\n') + 1);
  }

  // A task that waits for its stop.
  void Apply(const std::string& name, const std::string& public_key) {
    api::v1::ApplyRunRequest request;
    request.set_project_name("main");
    api::v1::RunSpec& spec = *request.mutable_run_spec();
    spec.set_run_name(name);
    spec.set_ssh_public_key(public_key);
    spec.mutable_configuration()->set_image(testing::kBusyboxImage);
    spec.mutable_configuration()->mutable_task()->add_commands("cat");
    api::v1::ApplyRunResponse response;
    Check(
        [&](grpc::ClientContext* context) { return stub_->ApplyRun(context, request, &response); });
  }

  api::v1::JobSubmission Submission(const std::string& name) {
    api::v1::GetRunRequest request;
    request.set_project_name("main");
    request.set_run_name(name);
    api::v1::GetRunResponse response;
    Check([&](grpc::ClientContext* context) { return stub_->GetRun(context, request, &response); });
    return response.run().jobs(0).submissions(0);
  }

 private:
  template <typename Call>
  void Check(const Call& call) {
    grpc::ClientContext context;
    rpc::SetToken(context, token_);
    rpc::SetTimeout(context, 30s);
    const grpc::Status status = call(&context);
    INFO(status.error_message());
    REQUIRE(status.ok());
  }

  std::string token_;
  std::unique_ptr<api::v1::RunService::Stub> stub_;
};

process::RunResult Ssh(const std::string& identity,
                       const std::string& known_hosts,
                       std::uint32_t port,
                       const std::string& command) {
  auto result = process::Run({"ssh",
                              "-F",
                              "none",
                              "-i",
                              identity,
                              "-p",
                              std::to_string(port),
                              "-o",
                              "BatchMode=yes",
                              "-o",
                              "StrictHostKeyChecking=yes",
                              "-o",
                              "UserKnownHostsFile=" + known_hosts,
                              "root@127.0.0.1",
                              command},
                             30s);
  REQUIRE(result.ok());
  return *std::move(result);
}

TEST_CASE("ssh into a job whose host key is known before it runs") {
  const auto cluster = MiniCluster::Start();
  if (!cluster) return;
  Runs runs(*cluster);
  const testing::TempDir dir;
  const auto user = ssh::GenerateKeyPair("test");
  REQUIRE(user.ok());
  const std::string identity = dir.Path("id");
  REQUIRE(base::WriteFileAtomic(identity, user->private_key.Reveal(), 0600).ok());

  runs.Apply("secure", user->public_key);
  // Nothing of the job runs yet, or hardly.
  const std::string host_key = runs.Submission("secure").ssh_host_key();
  CHECK_THAT(host_key, Catch::StartsWith("ssh-ed25519 "));
  api::v1::JobSubmission job;
  testing::Await(30s, [&] {
    job = runs.Submission("secure");
    return job.ssh_port() != 0;
  });
  CHECK(job.ssh_host_key() == host_key);

  const std::string known_hosts = dir.Path("known_hosts");
  REQUIRE(base::WriteFileAtomic(known_hosts,
                                fmt::format("[127.0.0.1]:{} {}\n", job.ssh_port(), host_key))
              .ok());
  const process::RunResult in = Ssh(identity, known_hosts, job.ssh_port(), "echo $DSTACK_RUN_NAME");
  INFO(in.stderr_text);
  CHECK(in.stdout_text == "secure\n");

  // A client that expects another key does not go in.
  REQUIRE(base::WriteFileAtomic(
              known_hosts, fmt::format("[127.0.0.1]:{} {}\n", job.ssh_port(), user->public_key))
              .ok());
  const process::RunResult refused = Ssh(identity, known_hosts, job.ssh_port(), "echo in");
  CHECK(refused.exit.code == 255);
  CHECK_THAT(refused.stderr_text, Catch::Contains("Host key verification failed"));

  cluster->CliOk({"stop", "secure", "-y"});
  cluster->AwaitRun("secure", "terminated");
  CHECK(runs.Submission("secure").ssh_host_key().empty());
  cluster->AwaitIdle();
}

}  // namespace
}  // namespace dstack
