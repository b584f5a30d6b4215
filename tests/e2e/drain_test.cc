// A host under maintenance, and what a run has used.
#include <chrono>

#include <catch2/catch.hpp>

#include "libs/testing/await.h"
#include "libs/testing/mini_cluster.h"

namespace dstack {
namespace {

using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using testing::MiniCluster;

TEST_CASE("a drained host lets its job end, takes no other, and works again") {
  const auto cluster = MiniCluster::Start();
  if (!cluster) return;
  cluster->CliOk({"apply", "-y", "-d", "-f", cluster->WriteTask("first", {"sleep 4"})});
  cluster->AwaitRun("first", "running");
  CHECK_THAT(cluster->CliOk({"fleet", "drain", "local", "--reason", "new kernel"}),
             Contains("takes no new jobs"));
  const auto list = [&] { return cluster->CliOk({"fleet", "-v"}); };
  CHECK_THAT(list(), Contains("(draining)") && Contains("new kernel"));
  testing::Await(20s, [&] { return list().find("(drained)") != std::string::npos; });
  CHECK(cluster->RunStatus("first") == "done");

  const auto refused = cluster->Cli({"apply", "-y", "-f", cluster->WriteTask("second", {"true"})});
  CHECK(refused.exit.code != 0);
  CHECK_THAT(refused.stdout_text + refused.stderr_text, Contains("draining: new kernel"));

  cluster->CliOk({"fleet", "undrain", "local"});
  cluster->CliOk({"apply", "-y", "-f", cluster->WriteTask("third", {"true"})});

  // The last seconds of a job are a point too.
  testing::Await(20s, [&] {
    return cluster->CliOk({"metrics", "first"}).find("job=0") != std::string::npos;
  });
}

}  // namespace
}  // namespace dstack
