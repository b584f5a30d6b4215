#include "services/server/domain/spec/repo_spec.h"

#include <catch2/catch.hpp>

namespace dstack::server {
namespace {

TEST_CASE("an address in the document is enough") {
  api::v1::RunSpec spec;
  auto* wish = spec.mutable_configuration()->add_repos();
  wish->set_url("https://github.com/dstackai/dstack");
  wish->set_branch("main");
  wish->set_path("code");
  wish->set_if_exists(config::v1::REPO_EXISTS_ACTION_SKIP);
  spec.mutable_configuration()->set_single_branch(true);
  std::vector<base::FieldViolation> violations;
  FillRepo(&spec, &violations);
  CHECK(violations.empty());
  runner::v1::JobSpec job;
  AddRepo(spec, &job);
  CHECK(job.repo().repo_id() == "dstack-nizdmsg0");
  CHECK(job.repo().path() == "code");
  CHECK(job.repo().exists_action() == runner::v1::REPO_EXISTS_ACTION_SKIP);
  CHECK(job.repo().git().clone_url() == "https://github.com/dstackai/dstack");
  CHECK(job.repo().git().branch() == "main");
  CHECK(job.repo().git().is_single_branch());
}

TEST_CASE("what is wrong with a repository") {
  struct Row {
    const char* field;
    void (*spoil)(api::v1::RunSpec&);
  };
  const Row row = GENERATE(
      Row{"repos[0]", [](auto& spec) { spec.clear_repo(); }},
      Row{"run_spec.repo", [](auto& spec) { spec.mutable_configuration()->clear_repos(); }},
      Row{"run_spec.repo.clone_url",
          [](auto& spec) { spec.mutable_repo()->set_clone_url("ext::sh"); }},
      Row{"run_spec.repo.branch",
          [](auto& spec) { spec.mutable_repo()->set_branch("--upload-pack=x"); }},
      Row{"run_spec.repo.hash", [](auto& spec) { spec.mutable_repo()->set_hash("HEAD"); }},
      Row{"run_spec.repo.diff_digest",
          [](auto& spec) { spec.mutable_repo()->set_diff_digest("d"); }},
      Row{"run_spec.repo.user_name",
          [](auto& spec) { spec.mutable_repo()->set_user_name("a\nb"); }},
      Row{"run_spec.repo.oauth_token",
          [](auto& spec) { spec.mutable_repo()->set_oauth_token("a b"); }});
  api::v1::RunSpec spec;
  spec.mutable_configuration()->add_repos()->set_local_path(".");
  spec.mutable_repo()->set_clone_url("https://h/r");
  row.spoil(spec);
  std::vector<base::FieldViolation> violations;
  FillRepo(&spec, &violations);
  REQUIRE(violations.size() == 1);
  CHECK(violations[0].field == row.field);
}

TEST_CASE("no repository, nothing for the runner") {
  runner::v1::JobSpec job;
  AddRepo({}, &job);
  CHECK_FALSE(job.has_repo());
}

}  // namespace
}  // namespace dstack::server
