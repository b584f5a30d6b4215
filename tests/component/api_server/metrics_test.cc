#include "tests/component/api_server/api_fixture.h"

namespace dstack::server {
namespace {

using Stub = api::v1::MetricsService::Stub;

api::v1::UsagePoint Point(std::int64_t seconds, double cpus) {
  api::v1::UsagePoint point;
  point.mutable_time()->set_seconds(seconds);
  point.set_cpus_used(cpus);
  return point;
}

TEST_CASE("metrics of jobs and hosts are read by those who see them") {
  ApiFixture api;
  const auto run = api.MustApply(ApiFixture::Task("train"));
  const auto fleet = api.MustApplyFleet("lab", {"10.0.0.1"});
  const std::string job = run.jobs(0).submissions(0).id();
  api.plane->usage().Add(job, Point(1'000, 1));
  api.plane->usage().Add(job, Point(1'010, 2));
  api.plane->usage().Add(fleet.instances(0).id(), Point(1'000, 3));
  api.plane->usage().Flush();

  api::v1::GetJobMetricsRequest request;
  request.set_project_name("main");
  request.set_run_name("train");
  const auto get = [&] { return api.Call(api.metrics, &Stub::GetJobMetrics, request); };
  testing::Await(10s, [&] { return get()->points_size() > 0; });
  const auto newest = get();
  CHECK(newest->job_submission_id() == job);
  REQUIRE(newest->points_size() == 1);
  CHECK(newest->points(0).cpus_used() == 2);
  CHECK(newest->points(0).time().seconds() == 1'010);
  request.mutable_window()->set_limit(1'000'000);
  CHECK(get()->points_size() == 2);
  request.mutable_window()->mutable_after()->set_seconds(1'005);
  CHECK(get()->points_size() == 1);

  api::v1::GetInstanceMetricsRequest host;
  host.set_project_name("main");
  host.set_instance_id(fleet.instances(0).id());
  const auto of_host = api.Call(api.metrics, &Stub::GetInstanceMetrics, host);
  REQUIRE(of_host.ok());
  CHECK(of_host->points(0).cpus_used() == 3);

  request.set_job_num(5);
  CHECK(base::Reason(get().status()) == "JOB_NOT_FOUND");
  request.set_run_name("none");
  CHECK(base::Reason(get().status()) == "RUN_NOT_FOUND");
  request.set_run_name("");
  CHECK(absl::IsInvalidArgument(get().status()));
  host.set_instance_id("no id");
  CHECK(base::Reason(api.Call(api.metrics, &Stub::GetInstanceMetrics, host).status()) ==
        "INSTANCE_NOT_FOUND");
  api.token = api.NewUser("eve");
  request.set_run_name("train");
  CHECK(base::Reason(get().status()) == "PROJECT_NOT_FOUND");
}

}  // namespace
}  // namespace dstack::server
