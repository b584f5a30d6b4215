#include "services/runner/domain/job_env.h"

#include <chrono>
#include <iterator>

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "libs/process/subprocess.h"
#include "libs/testing/temp_dir.h"

namespace dstack::runner {
namespace {

v1::JobSpec TwoNodeJob() {
  v1::JobSpec job;
  job.mutable_identity()->set_run_id("rid");
  job.mutable_identity()->set_run_name("rname");
  job.mutable_identity()->set_job_id("jid");
  job.mutable_identity()->set_job_num(1);
  job.mutable_identity()->set_jobs_per_replica(2);
  job.mutable_cluster()->add_node_addresses("10.0.0.1");
  job.mutable_cluster()->add_node_addresses("10.0.0.2");
  job.mutable_cluster()->add_gpus_per_node(8);
  job.mutable_cluster()->add_gpus_per_node(4);
  return job;
}

TEST_CASE("the environment of a node") {
  const Environment env = BuildJobEnvironment(
      {}, TwoNodeJob(), {.working_dir = "/w", .home = "/h", .mpi_hostfile = "/m"});
  const Environment expected = {{"DSTACK_RUN_ID", "rid"},
                                {"DSTACK_RUN_NAME", "rname"},
                                {"DSTACK_JOB_ID", "jid"},
                                {"DSTACK_REPO_ID", "none"},
                                {"DSTACK_REPO_DIR", "/workflow"},
                                {"DSTACK_WORKING_DIR", "/w"},
                                {"DSTACK_NODES_IPS", "10.0.0.1\n10.0.0.2"},
                                {"DSTACK_MASTER_NODE_IP", "10.0.0.1"},
                                {"DSTACK_NODE_RANK", "1"},
                                {"DSTACK_NODES_NUM", "2"},
                                {"DSTACK_GPUS_PER_NODE", "4"},
                                {"DSTACK_GPUS_NUM", "12"},
                                {"DSTACK_MPI_HOSTFILE", "/m"},
                                {"HOME", "/h"}};
  for (const auto& [name, value] : expected) {
    INFO(name);
    CHECK(env.at(name) == value);
  }
  CHECK(env.contains("PATH"));
}

TEST_CASE("E2 who wins: container, variables of ours, the job, HOME") {
  v1::JobSpec job = TwoNodeJob();
  (*job.mutable_env())["DSTACK_RUN_NAME"] = "mine";
  (*job.mutable_env())["HOME"] = "/elsewhere";
  (*job.mutable_env())["A"] = "job";
  const Environment env = BuildJobEnvironment(
      {{"A", "image"}, {"B", "image"}, {"DSTACK_RUN_ID", "image"}, {"PATH", "/image"}},
      job,
      {.working_dir = "/w", .home = "/h", .mpi_hostfile = "/m"});
  CHECK(env.at("A") == "job");
  CHECK(env.at("B") == "image");
  CHECK(env.at("DSTACK_RUN_ID") == "rid");
  CHECK(env.at("DSTACK_RUN_NAME") == "mine");
  CHECK(env.at("HOME") == "/h");
  CHECK(env.at("PATH") == "/image");
}

// The original has a routine for them that it does not call, so that users see the texts as they
// are. `${{ ... }}` is the engine of documents, see libs/config.
TEST_CASE("E1 nothing that looks like a reference is replaced in a job's environment") {
  const char* texts[] = {"",
                         "plain",
                         "${A}",
                         "${A}${B}",
                         "x${A}y",
                         "${ABSENT}",
                         "$A",
                         "$ABSENT",
                         "$",
                         "$$",
                         "$$$",
                         "$${A}",
                         "$$${A}",
                         "$$$${A}",
                         "$$$$${A}",
                         "a$",
                         "a$$",
                         "${}",
                         "${ A}",
                         "${A }",
                         "${1A}",
                         "${A-B}",
                         "${A.B}",
                         "${A:-x}",
                         "${A",
                         "$${A",
                         "${",
                         "${${A}}",
                         "{A}",
                         "A}",
                         "$ {A}",
                         "${\xc3\xa4}",
                         "${A}\n$${A}"};
  CHECK(std::size(texts) == 33);
  for (const char* text : texts) {
    v1::JobSpec job;
    (*job.mutable_env())["A"] = "replaced";
    (*job.mutable_env())["TEXT"] = text;
    INFO(text);
    CHECK(BuildJobEnvironment({}, job, {.working_dir = "/", .home = "/"}).at("TEXT") == text);
  }
}

TEST_CASE("E2 values of the container and of the job are merged as they are") {
  v1::JobSpec job;
  (*job.mutable_env())["OWN"] = "${IMAGE} $IMAGE ${ABSENT}";
  const Environment env =
      BuildJobEnvironment({{"IMAGE", "$OWN"}}, job, {.working_dir = "/", .home = "/"});
  CHECK(env.at("OWN") == "${IMAGE} $IMAGE ${ABSENT}");
  CHECK(env.at("IMAGE") == "$OWN");
}

TEST_CASE("E3 exported shell functions are left out in both encodings, near misses are kept") {
  const Environment env = ParseEnvironment({"BASH_FUNC_f%%=() { :; }",
                                            "BASH_FUNC_g()=() { :; }",
                                            "BASH_FUNC_f=1",
                                            "BASH_FUNC_%%=2",
                                            "XBASH_FUNC_f%%=3",
                                            "BASH_FUNC_f%=4"});
  CHECK(env == Environment{{"BASH_FUNC_f", "1"},
                           {"BASH_FUNC_%%", "2"},
                           {"XBASH_FUNC_f%%", "3"},
                           {"BASH_FUNC_f%", "4"}});
  CHECK(ParseEnvironment({}).empty());
}

TEST_CASE("E4 names that a shell can export") {
  for (const char* name : {"A", "_", "a1", "A_b_9"}) CHECK(IsShellIdentifier(name));
  for (const char* name : {"", "1a", "a-b", "a.b", "a b", "\xc3\xa4", "BASH_FUNC_f%%"}) {
    CHECK_FALSE(IsShellIdentifier(name));
  }
}

TEST_CASE("R11 a POSIX shell reads values of every kind from the profile") {
  const testing::TempDir temp;
  const Environment env = {{"EMPTY", ""},
                           {"QUOTED", "it's \"so\" `x` $HOME \\ !"},
                           {"LINES", "one\ntwo\n"},
                           {"TABS", "\ta\tb"},
                           {"bad-name", "x"}};
  REQUIRE(base::WriteFileAtomic(temp.Path("profile"), LoginProfile(env, "/")).ok());
  for (const auto& [name, value] : env) {
    if (!IsShellIdentifier(name)) continue;
    const auto result = process::Run(
        {"sh", "-c", ". \"$1\"; printf '%s.' \"$" + name + "\"", "sh", temp.Path("profile")},
        std::chrono::seconds(20));
    REQUIRE(result.ok());
    CHECK(result->stdout_text == value + ".");
    CHECK(result->stderr_text.empty());
  }
}

TEST_CASE("entries of a process's environment") {
  const Environment env = ParseEnvironment(
      {"A=1", "B=x=y", "EMPTY=", "=nameless", "broken", "BASH_FUNC_f%%=() {", "A=2"});
  CHECK(env == Environment{{"A", "2"}, {"B", "x=y"}, {"EMPTY", ""}});
  CHECK(ToEntries(env) == std::vector<std::string>{"A=2", "B=x=y", "EMPTY="});
}

TEST_CASE("R12 names that are no identifiers are skipped, and a shell prints nothing about it") {
  const testing::TempDir temp;
  const Environment env = {{"GOOD", "1"},
                           {"bad-name", "2"},
                           {"bad.name", "3"},
                           {"1bad", "4"},
                           {"bad name", "5"},
                           {"BASH_FUNC_f%%", "() { echo 6; }"},
                           {"x;echo injected", "7"},
                           {"LAST", "8"}};
  REQUIRE(base::WriteFileAtomic(temp.Path("profile"), LoginProfile(env, "/")).ok());
  const auto result = process::Run(
      {"sh", "-euc", ". \"$1\"; echo \"$GOOD $LAST\"; env", "sh", temp.Path("profile")},
      std::chrono::seconds(20));
  REQUIRE(result.ok());
  CHECK(result->exit.ok());
  CHECK(result->stderr_text.empty());
  CHECK(result->stdout_text.starts_with("1 8\n"));
  for (const char* part : {"bad", "BASH_FUNC", "injected"}) {
    CHECK(result->stdout_text.find(part) == std::string::npos);
  }
}

TEST_CASE(
    "R12 a login profile quotes values and leaves out what a shell sets itself or cannot export") {
  const std::string script = LoginProfile(
      {{"A", "it's"}, {"PWD", "/"}, {"HOME", "/h"}, {"not-a-name", "x"}, {"M", "1\n2"}}, "/w'd");
  CHECK(script == "export A='it'\\''s'\nexport M='1\n2'\ncd '/w'\\''d' 2>/dev/null || true\n");
}

TEST_CASE("R13 an MPI hostfile") {
  v1::ClusterInfo cluster = TwoNodeJob().cluster();
  CHECK(MpiHostfile(cluster) == "10.0.0.1 slots=8\n10.0.0.2 slots=4\n");
  cluster.set_gpus_per_node(1, 0);
  CHECK(MpiHostfile(cluster) == "10.0.0.1 slots=8\n10.0.0.2\n");
  cluster.set_node_addresses(0, "");
  CHECK(MpiHostfile(cluster).empty());
}

}  // namespace
}  // namespace dstack::runner
