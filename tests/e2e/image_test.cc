// Images that have next to nothing.
#include <chrono>

#include <catch2/catch.hpp>
#include <sys/stat.h>

#include "libs/base/file.h"
#include "libs/docker/images.h"
#include "libs/process/subprocess.h"
#include "libs/testing/mini_cluster.h"
#include "libs/testing/paths.h"
#include "libs/testing/temp_dir.h"

namespace dstack {
namespace {

using namespace std::chrono_literals;
using testing::MiniCluster;

constexpr char kImage[] = "dstack-test/static:1";

// One static program, no shell, no user file, no other directory.
void MakeStaticImage(const MiniCluster& cluster) {
  const testing::TempDir root;
  const std::string program = testing::BuildDir() + "/test-bin/e2e_static_program";
  REQUIRE(process::RunChecked({"cp", program, root.Path("program")}, 10s).ok());
  auto tar = process::RunChecked(
      {"tar", "-C", root.path(), "-c", "program"}, 10s, {.output_limit_bytes = 64 << 20});
  REQUIRE(tar.ok());
  const absl::Status made = docker::ImportImage(
      cluster.docker().client(), kImage, *std::move(tar), {R"(ENTRYPOINT ["/program", "0"])"}, {});
  INFO(made.ToString());
  REQUIRE(made.ok());
}

TEST_CASE("an image with nothing but a static program works") {
  const auto cluster = MiniCluster::Start();
  if (!cluster) return;
  MakeStaticImage(*cluster);
  const std::string image = std::string("image: ") + kImage;

  const auto own = cluster->Cli({"apply", "-y", "-f", cluster->WriteTask("own", {}, image)});
  CHECK(own.exit.code == 0);
  CHECK(own.stdout_text == "hello from nothing\n0\n");

  const auto given =
      cluster->Cli({"apply",
                    "-y",
                    "-f",
                    cluster->WriteTask("given", {}, image + "\nentrypoint: /program 7 'a b'")});
  CHECK(given.exit.code == 7);
  CHECK(given.stdout_text == "hello from nothing\n7\na b\n");
  cluster->AwaitIdle();
  CHECK(docker::RemoveImage(cluster->docker().client(), kImage, {}).ok());
}

TEST_CASE("a run with `docker: true` has a Docker Engine inside, and nothing of it stays") {
  const auto cluster =
      MiniCluster::Start({.is_engine_privileged = true,
                          .server_arguments = {"--docker-image", testing::kDockerImage}});
  if (!cluster) return;
  REQUIRE(cluster->docker().EnsureDocker().ok());
  const std::string file = cluster->WriteFile(
      "inside.dstack.yml",
      "type: task\nname: inside\ndocker: true\nshell: sh\ncommands:\n"
      "  - mkdir -p image/bin && cp /bin/busybox image/bin/sh\n"
      "  - tar -C image -c . | docker import - inner >/dev/null\n"
      "  - docker run --rm --network none inner sh -c 'echo deep inside; exit 5'\n");
  const auto result = cluster->Cli({"apply", "-y", "-f", file});
  INFO(result.stderr_text);
  CHECK(result.stdout_text == "deep inside\n");
  CHECK(result.exit.code == 5);
  cluster->AwaitIdle();

  // The usual image's way to start it.
  const std::string starter = cluster->WriteFile(
      "start-dockerd",
      "#!/bin/sh\n"
      "echo engine starts\n"
      "dockerd >/dev/null 2>&1 &\n"
      "until docker info >/dev/null 2>&1; do kill -0 $! && sleep 0.1 || exit 1; done\n");
  REQUIRE(chmod(starter.c_str(), 0755) == 0);
  const std::string started =
      cluster->WriteFile("started.dstack.yml",
                         "type: task\nname: started\ndocker: true\nshell: sh\n"
                         "files:\n  - start-dockerd:/usr/local/bin/start-dockerd\n"
                         "commands: [docker ps -q, echo it answers]\n");
  const auto by_starter = cluster->Cli({"apply", "-y", "-f", started});
  INFO(by_starter.stderr_text);
  CHECK(by_starter.stdout_text == "engine starts\nit answers\n");
  CHECK(by_starter.exit.code == 0);
  cluster->AwaitIdle();

  const std::string broken = cluster->WriteFile(
      "broken.dstack.yml",
      "type: task\nname: broken\ndocker: true\nshell: sh\nuser: worker\ncommands: [echo never]\n");
  const auto failed = cluster->Cli({"apply", "-y", "-f", broken});
  CHECK(failed.exit.code == 1);
  CHECK_THAT(failed.stdout_text, Catch::Contains("dockerd needs to be started with root"));
  CHECK_THAT(failed.stdout_text, !Catch::Contains("never"));
}

}  // namespace
}  // namespace dstack
