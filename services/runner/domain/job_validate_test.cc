#include "services/runner/domain/job_validate.h"

#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "libs/base/status.h"

namespace dstack::runner {
namespace {

v1::JobSpec GoodJob() {
  v1::JobSpec job;
  job.mutable_identity()->set_job_id("id");
  job.add_command("/bin/true");
  job.set_working_dir("~/w");
  job.add_files()->set_digest(std::string(64, 'a'));
  job.mutable_files(0)->set_path("x");
  return job;
}

std::vector<std::string> WrongFields(const v1::JobSpec& job) {
  std::vector<std::string> fields;
  for (const auto& violation : base::FieldViolations(ValidateJob(job))) {
    fields.push_back(violation.field);
  }
  return fields;
}

TEST_CASE("a good job, also one without a command") {
  v1::JobSpec job = GoodJob();
  CHECK(ValidateJob(job).ok());
  job.clear_command();
  CHECK(ValidateJob(job).ok());
}

TEST_CASE("each wrong field is named") {
  struct Row {
    const char* field;
    void (*spoil)(v1::JobSpec*);
  };
  const std::vector<Row> rows = {
      {"identity.job_id", [](v1::JobSpec* j) { j->mutable_identity()->clear_job_id(); }},
      {"command[0]", [](v1::JobSpec* j) { j->set_command(0, ""); }},
      {"command[0]", [](v1::JobSpec* j) { j->set_command(0, std::string("a\0b", 3)); }},
      {"env[\"\"]", [](v1::JobSpec* j) { (*j->mutable_env())[""] = "x"; }},
      {"env[\"A=B\"]", [](v1::JobSpec* j) { (*j->mutable_env())["A=B"] = "x"; }},
      {"env[\"A\"]", [](v1::JobSpec* j) { (*j->mutable_env())["A"] = std::string(1, '\0'); }},
      {"working_dir", [](v1::JobSpec* j) { j->set_working_dir("relative"); }},
      {"files[0].digest", [](v1::JobSpec* j) { j->mutable_files(0)->set_digest("../../x"); }},
      {"files[0].path", [](v1::JobSpec* j) { j->mutable_files(0)->set_path("~other/x"); }},
      {"files[0].path", [](v1::JobSpec* j) { j->mutable_files(0)->set_path(""); }},
      {"max_duration", [](v1::JobSpec* j) { j->mutable_max_duration()->set_seconds(-1); }},
      {"user",
       [](v1::JobSpec* j) {
         j->mutable_user()->set_uid(1);
         j->mutable_user()->set_username("x");
       }},
  };
  for (const Row& row : rows) {
    INFO(row.field);
    v1::JobSpec job = GoodJob();
    row.spoil(&job);
    CHECK(WrongFields(job) == std::vector<std::string>{row.field});
  }
}

TEST_CASE("values of the environment are not shown") {
  v1::JobSpec job = GoodJob();
  (*job.mutable_env())["A"] = std::string("secret\0", 7);
  CHECK(std::string(base::Message(ValidateJob(job))).find("secret") == std::string::npos);
}

TEST_CASE("R13 numbers of slots and addresses must match") {
  v1::JobSpec job = GoodJob();
  job.clear_cluster();
  job.mutable_cluster()->add_node_addresses("10.0.0.1");
  job.mutable_cluster()->add_gpus_per_node(1);
  CHECK(ValidateJob(job).ok());
  job.mutable_cluster()->add_gpus_per_node(1);
  CHECK(base::FieldViolations(ValidateJob(job)).at(0).field == "cluster.gpus_per_node");
}

TEST_CASE("each wrong field of a repository is named, secrets are not shown") {
  struct Row {
    const char* field;
    void (*spoil)(v1::GitRepo&);
  };
  const Row row = GENERATE(
      Row{"repo.git.clone_url", [](v1::GitRepo& git) { git.set_clone_url("file:///etc"); }},
      Row{"repo.git.branch", [](v1::GitRepo& git) { git.set_branch("--upload-pack=evil"); }},
      Row{"repo.git.hash", [](v1::GitRepo& git) { git.set_hash("HEAD~1"); }},
      Row{"repo.git.user_name", [](v1::GitRepo& git) { git.set_user_name("a\nb"); }},
      Row{"repo.git.oauth_token", [](v1::GitRepo& git) { git.set_oauth_token("s3cret\n"); }},
      Row{"repo", [](v1::GitRepo& git) { git.set_diff_digest("../x"); }});
  v1::JobSpec job = GoodJob();
  job.mutable_repo()->mutable_git()->set_clone_url("https://h/r");
  REQUIRE(ValidateJob(job).ok());
  row.spoil(*job.mutable_repo()->mutable_git());
  const absl::Status status = ValidateJob(job);
  REQUIRE(base::FieldViolations(status).size() == 1);
  CHECK(base::FieldViolations(status)[0].field == row.field);
  CHECK(std::string(status.message()).find("s3cret") == std::string::npos);
}

}  // namespace
}  // namespace dstack::runner
