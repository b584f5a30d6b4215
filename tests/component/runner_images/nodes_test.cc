// The nodes of a replica: real runners in containers of one network of a real engine, which reach
// each other as an MPI program would.
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/docker/containers.h"
#include "libs/ssh/keys.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_docker.h"
#include "libs/testing/paths.h"
#include "libs/testing/temp_dir.h"
#include "tests/component/runner_agent/session_client.h"
#include "tests/component/runner_agent/ssh_login.h"

namespace dstack::runner {
namespace {

using common::v1::LOG_SOURCE_JOB;
using namespace std::chrono_literals;

constexpr int kNodes = 2;

absl::Status CallEngine(const docker::Client& client,
                        docker::Method method,
                        const std::string& path,
                        const std::string& body = "") {
  return client.Call({.method = method, .path = path, .body = body, .timeout = 30s}, {}).status();
}

// A network on which containers find each other by name; goes with this object.
class Network {
 public:
  explicit Network(const docker::Client& client)
      : client_(client), name_(fmt::format("dstack-test-nodes-{}", getpid())) {
    const absl::Status made = CallEngine(
        client, docker::Method::kPost, "/networks/create", R"({"Name":")" + name_ + "\"}");
    INFO(made);
    REQUIRE(made.ok());
  }
  ~Network() { CallEngine(client_, docker::Method::kDelete, "/networks/" + name_).IgnoreError(); }

  const std::string& name() const { return name_; }

 private:
  const docker::Client& client_;
  const std::string name_;
};

// One node: the runner as first process of a container, and the server's session with it.
class Node {
 public:
  Node(const docker::Client& client, const Network& network, int rank)
      : client_(client), name_(fmt::format("{}-{}", network.name(), rank)) {
    REQUIRE(base::WriteFileAtomic(dir_.Path("token"), token_, 0600).ok());
    docker::ContainerConfig config{
        .image = testing::kBusyboxImage,
        .entrypoint = {"/usr/local/bin/dstack-runner",
                       "supervise",
                       "--task-dir",
                       "/dstack/runner",
                       "--ssh-dir",
                       "/opt/dstack/ssh",
                       "--ssh-port",
                       "10022"},
        .mounts = {{dir_.path(), "/dstack/runner", false},
                   {testing::StaticBinary("dstack-runner"), "/usr/local/bin/dstack-runner", true},
                   {SshBundle(), "/opt/dstack/ssh", true}},
        .network_mode = network.name()};
    const auto made = docker::CreateContainer(client_, name_, config, {});
    INFO(made.status());
    REQUIRE(made.ok());
    id_ = *made;
    const absl::Status started = docker::StartContainer(client_, id_, {});
    INFO(started);
    REQUIRE(started.ok());
    testing::Await(30s, [this] { return base::Exists(dir_.Path("runner.sock")); });
    session_.emplace("unix:" + dir_.Path("runner.sock"), token_, store_);
  }
  ~Node() {
    session_.reset();
    docker::RemoveContainer(client_, id_, {}).IgnoreError();
  }

  // As the other nodes reach it: by name, or by number.
  const std::string& name() const { return name_; }
  std::string Ip() const {
    const auto answer = client_.Call({.path = "/containers/" + id_ + "/json"}, {});
    REQUIRE(answer.ok());
    const auto networks = nlohmann::json::parse(answer->body)["NetworkSettings"]["Networks"];
    return networks.begin().value()["IPAddress"];
  }

  SessionClient& session() { return *session_; }
  const std::string& output() { return store_.text[LOG_SOURCE_JOB]; }
  const std::string& log() { return store_.text[common::v1::LOG_SOURCE_RUNNER]; }

 private:
  const docker::Client& client_;
  const std::string name_;
  const testing::TempDir dir_;
  const std::string token_ = std::string(40, 'k');
  std::string id_;
  ServerStore store_;
  std::optional<SessionClient> session_;
};

v1::JobSpec NodeJob(int rank,
                    const std::vector<std::string>& addresses,
                    const ssh::KeyPair& key,
                    const std::string& script) {
  v1::JobSpec job = MakeShellJob(script);
  job.mutable_identity()->set_job_num(static_cast<std::uint32_t>(rank));
  job.mutable_identity()->set_jobs_per_replica(kNodes);
  v1::ClusterInfo& cluster = *job.mutable_cluster();
  cluster.mutable_node_addresses()->Assign(addresses.begin(), addresses.end());
  cluster.add_gpus_per_node(2);
  cluster.add_gpus_per_node(4);
  cluster.set_ssh_private_key(key.private_key.Reveal());
  cluster.set_ssh_public_key(key.public_key);
  return job;
}

// Runs on node 0: shows its own place, then logs in to each other node and shows theirs.
constexpr char kRoundTrip[] =
    "cat $DSTACK_MPI_HOSTFILE; echo $DSTACK_NODE_RANK/$DSTACK_NODES_NUM "
    "$DSTACK_GPUS_PER_NODE/$DSTACK_GPUS_NUM $DSTACK_MASTER_NODE_IP; "
    "for node in $DSTACK_NODES_IPS; do until /opt/dstack/ssh/bin/ssh -o BatchMode=yes $node "
    "'echo $DSTACK_NODE_RANK/$DSTACK_NODES_NUM $DSTACK_GPUS_PER_NODE/$DSTACK_GPUS_NUM' "
    "2>/tmp/error; do sleep 0.1; done; done; echo all; cat";

void CheckRoundTrip(bool by_name) {
  auto engine = testing::MiniDocker::Start();
  if (!engine.ok()) return testing::Skip(engine.status().ToString());
  REQUIRE((*engine)->EnsureBusybox().ok());
  const docker::Client& client = (*engine)->client();
  const Network network(client);
  std::vector<std::unique_ptr<Node>> nodes;
  std::vector<std::string> addresses;
  for (int rank = 0; rank < kNodes; ++rank) {
    nodes.push_back(std::make_unique<Node>(client, network, rank));
    addresses.push_back(by_name ? nodes.back()->name() : nodes.back()->Ip());
  }
  const auto key = ssh::GenerateKeyPair("dstack-cluster");
  REQUIRE(key.ok());
  for (int rank = kNodes - 1; rank >= 0; --rank) {
    SessionClient& session = nodes[static_cast<std::size_t>(rank)]->session();
    session.Submit(NodeJob(rank, addresses, *key, rank == 0 ? kRoundTrip : "cat"));
    CHECK(session.AwaitFilesNeeded().empty());
    session.StartJob();
  }
  INFO(nodes[0]->log() << nodes[1]->log());
  nodes[0]->session().AwaitText(LOG_SOURCE_JOB, "all\n");
  for (const auto& node : nodes) {
    node->session().StopJob(0);
    node->session().AwaitEndOfLogs();
    node->session().AckEnd();
    node->session().AwaitClosed();
  }
  CHECK(nodes[0]->output() ==
        fmt::format("{0} slots=2\n{1} slots=4\n0/2 2/6 {0}\n0/2 2/6\n1/2 4/6\n"
                    "all\n",
                    addresses[0],
                    addresses[1]));
}

TEST_CASE("nodes of a replica reach each other by address, with ranks and an MPI hostfile") {
  CheckRoundTrip(/*by_name=*/false);
}

TEST_CASE("nodes of a replica reach each other by name") { CheckRoundTrip(/*by_name=*/true); }

}  // namespace
}  // namespace dstack::runner
