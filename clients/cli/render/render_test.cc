#include <catch2/catch.hpp>

#include "clients/cli/render/fleet_table.h"
#include "clients/cli/render/json.h"
#include "clients/cli/render/plan_screen.h"
#include "clients/cli/render/run_table.h"
#include "clients/cli/render/style.h"
#include "clients/cli/render/table.h"
#include "clients/cli/render/text.h"
#include "clients/cli/render/usage_chart.h"

namespace dstack::cli {
namespace {

using namespace std::chrono_literals;
using Catch::Contains;

const base::WallTime kNow{std::chrono::seconds(1'800'000'000)};
const Screen kPipe{};
const Screen k80{.width = 80, .has_color = false};

google::protobuf::Timestamp At(std::chrono::seconds before) {
  google::protobuf::Timestamp timestamp;
  timestamp.set_seconds(1'800'000'000 - before.count());
  return timestamp;
}

void SetOffer(api::v1::JobSubmission* submission, double price) {
  api::v1::Offer* offer = submission->mutable_offer();
  offer->set_backend("aws");
  offer->set_region("us-east-1");
  offer->set_instance_type("g6.xlarge");
  offer->set_price_dollars_per_hour(price);
  offer->mutable_resources()->set_cpus(4);
  offer->mutable_resources()->set_memory_bytes(16ULL << 30);
  common::v1::Gpu* gpu = offer->mutable_resources()->add_gpus();
  gpu->set_name("L4");
  gpu->set_memory_bytes(24ULL << 30);
}

api::v1::Run Service() {
  api::v1::Run run;
  run.mutable_spec()->set_run_name("llama-svc");
  run.set_status(api::v1::RUN_STATUS_RUNNING);
  run.set_status_message("running");
  *run.mutable_submitted_at() = At(12min);
  const char* texts[] = {"running", "pulling"};
  for (uint32_t i = 0; i < 2; ++i) {
    api::v1::Job* job = run.add_jobs();
    job->set_replica_num(i);
    api::v1::JobSubmission* submission = job->add_submissions();
    submission->set_status_message(texts[i]);
    *submission->mutable_submitted_at() = At(i == 0 ? 12min : 1min);
    SetOffer(submission, 0.8048);
  }
  return run;
}

TEST_CASE("terminal escapes, line ends and broken bytes become visible") {
  const std::pair<std::string, std::string> rows[] = {
      {"plain ä", "plain ä"},
      {"\x1b[31mred", "\\x1b[31mred"},
      {"a\nb\tc\r", "a\\nb\\tc\\r"},
      {"\xC2\x9B", "\\x9b"},
      {"\xE2\x80\xAE", "\\u202e"},  // NOLINT(misc-misleading-bidirectional): what is tested
      {"\xFF", "\xEF\xBF\xBD"},
      {"cut \xE2\x80", "cut \xEF\xBF\xBD\xEF\xBF\xBD"},
      {std::string("\0", 1), "\\x00"},
  };
  for (const auto& [text, expected] : rows) CHECK(Neutralise(text) == expected);
  CHECK(NeutraliseLines("a\n\x1b") == "a\n\\x1b");
}

TEST_CASE("dates are relative") {
  const std::pair<std::chrono::seconds, const char*> rows[] = {
      {-5s, "now"},
      {9s, "now"},
      {10s, "10 sec ago"},
      {60s, "1 min ago"},
      {59min, "59 mins ago"},
      {1h, "1 hour ago"},
      {23h, "23 hours ago"},
      {24h, "yesterday"},
      {48h, "2 days ago"},
      {24h * 7, "1 week ago"},
      {24h * 29, "4 weeks ago"},
      {24h * 30, "1 month ago"},
      {24h * 364, "12 months ago"},
      {24h * 365, "1 year ago"},
      {24h * 800, "2 years ago"},
  };
  for (const auto& [age, text] : rows) CHECK(RelativeDate(kNow - age, kNow) == text);
}

TEST_CASE("prices and sizes are short") {
  CHECK(FormatPrice(0.2145) == "$0.2145");
  CHECK(FormatPrice(12) == "$12");
  CHECK(FormatPrice(0) == "$0");
  CHECK(FormatPrice(100) == "$100");
  CHECK(FormatGigabytes(16ULL << 30) == "16GB");
  CHECK(FormatGigabytes(512ULL << 20) == "0.5GB");
  CHECK(FormatGigabytes(80ULL << 30) == "80GB");
  CHECK(FormatGigabytes(100ULL << 30) == "100GB");
  CHECK(FormatBackend("remote", "remote") == "ssh (remote)");
  CHECK(FormatBackend("", "") == "-");
}

TEST_CASE("tables are as narrow as their content, or fill a narrow terminal") {
  Table table({{"NAME"}, {"STATUS"}});
  table.AddRow({{"a-long-name"}, {"x"}});
  table.AddRow({{"b"}});
  CHECK(table.Render(kPipe) == " NAME         STATUS\n a-long-name  x\n b\n");
  const std::string stretched = table.Render({.width = 40});
  CHECK(stretched.substr(0, stretched.find('\n')) ==
        " NAME" + std::string(40 - 5 - 6, ' ') + "STATUS");
  CHECK(table.Render({.width = 200}) == table.Render(kPipe));
}

TEST_CASE("a table that is too wide cuts what may be cut") {
  Table table({{"NAME"}, {"ERROR", true}});
  table.AddRow({{"name"}, {std::string(100, 'e')}});
  const std::string text = table.Render({.width = 30});
  CHECK_THAT(text, Contains("…"));
  CHECK_THAT(text, Contains("name"));
  for (size_t start = 0; start < text.size();) {
    const size_t end = text.find('\n', start);
    CHECK(DisplayWidth(text.substr(start, end - start)) <= 30);
    start = end + 1;
  }
}

TEST_CASE("colours need a terminal") {
  CHECK(Paint("x", Style::kError, false) == "x");
  CHECK(Paint("x", Style::kError, true) == "\x1b[31mx\x1b[0m");
  CHECK(StatusStyle("exited (0)") == Style::kFinished);
  CHECK(StatusStyle("exited (3)") == Style::kFailed);
  CHECK(StatusStyle("1/4 busy") == Style::kChanging);
  CHECK(StatusStyle("from the future") == Style::kPlain);
}

TEST_CASE("runs with several jobs get a row for each") {
  const std::string text = RunTable({Service()}, {.now = kNow}).Render(kPipe);
  CHECK(text ==
        " NAME          BACKEND          GPU        PRICE    STATUS   SUBMITTED\n"
        " llama-svc     -                -          -        running  12 mins ago\n"
        "    replica=0  aws (us-east-1)  L4:24GB:1  $0.8048  running  12 mins ago\n"
        "    replica=1  aws (us-east-1)  L4:24GB:1  $0.8048  pulling  1 min ago\n");
}

TEST_CASE("the table of runs at 80 columns") {
  const std::string text = RunTable({Service()}, {.now = kNow}).Render(k80);
  CHECK(text ==
        " NAME            BACKEND            GPU          PRICE     STATUS    SUBMITTED\n"
        " llama-svc       -                  -            -         running   12 mins ago\n"
        "    replica=0    aws (us-east-1)    L4:24GB:1    $0.8048   running   12 mins ago\n"
        "    replica=1    aws (us-east-1)    L4:24GB:1    $0.8048   pulling   1 min ago\n");
}

TEST_CASE("pull progress and lost hosts show beside the status") {
  api::v1::Run run = Service();
  run.mutable_jobs()->DeleteSubrange(1, 1);
  auto* submission = run.mutable_jobs(0)->mutable_submissions(0);
  run.set_status_message("pulling");
  auto* progress = submission->mutable_image_pull_progress();
  progress->set_extracted_bytes(10 << 20);
  progress->set_downloaded_bytes(20 << 20);
  progress->set_total_bytes(300 << 20);
  CHECK_THAT(RunTable({run}, {.now = kNow}).Render(kPipe), Contains("pulling 10/20/≥300MB"));
  submission->clear_image_pull_progress();
  submission->set_is_unreachable(true);
  run.set_status_message("running");
  CHECK_THAT(RunTable({run}, {.now = kNow}).Render(kPipe), Contains("running (unreachable)"));
}

TEST_CASE("the plan of a run at 80 columns") {
  api::v1::RunPlan plan;
  plan.set_project_name("main");
  plan.set_user_name("admin");
  auto* run = plan.mutable_effective_run_spec()->mutable_configuration();
  run->mutable_task()->set_nodes(2);
  run->mutable_resources()->mutable_cpu()->mutable_count()->set_min(2);
  run->mutable_profile()->set_max_price(1.5);
  auto* job = plan.add_job_plans();
  job->set_total_offers(5);
  job->set_max_price_dollars_per_hour(3);
  api::v1::JobSubmission with_offer;
  SetOffer(&with_offer, 0.8048);
  *job->add_offers() = with_offer.offer();
  job->mutable_offers(0)->set_availability(api::v1::OFFER_AVAILABILITY_BUSY);
  CHECK(RunPlanScreen(plan, false, 3, k80) ==
        " Project        main\n"
        " User           admin\n"
        " Type           task (nodes=2)\n"
        " Resources      cpu=2..\n"
        " Spot policy    on-demand\n"
        " Max price      $1.5\n"
        " Retry policy   off\n"
        " Idle duration  5m\n"
        " Max duration   off\n"
        "\n"
        " #   BACKEND          RESOURCES                     INSTANCE TYPE  PRICE\n"
        " 1   aws (us-east-1)  cpu=4 mem=16GB gpu=L4:24GB:1  g6.xlarge      $0.8048  busy\n"
        "     ...\n"
        " Shown 1 of 5 offers, $3 max\n"
        "No host is free now: the run waits for one\n");
  plan.clear_job_plans();
  CHECK_THAT(RunPlanScreen(plan, true, 3, kPipe),
             Contains("No matching instance offers") && Contains("reuse-or-create"));
  plan.set_has_no_fleets(true);
  CHECK_THAT(RunPlanScreen(plan, false, 3, kPipe), Contains("no fleets"));
}

api::v1::RunPlan PlanOfOwnHosts() {
  api::v1::RunPlan plan;
  plan.set_project_name("main");
  plan.set_user_name("admin");
  auto* run = plan.mutable_effective_run_spec()->mutable_configuration();
  run->mutable_task();
  run->mutable_resources()->mutable_gpu()->mutable_count()->set_min(2);
  auto* job = plan.add_job_plans();
  job->set_total_offers(4);
  const std::pair<const char*, api::v1::OfferAvailability> hosts[] = {
      {"gpu-3", api::v1::OFFER_AVAILABILITY_BUSY},
      {"small-0", api::v1::OFFER_AVAILABILITY_NOT_AVAILABLE}};
  for (const auto& [name, availability] : hosts) {
    api::v1::Offer* offer = job->add_offers();
    offer->set_backend("ssh");
    offer->set_region("remote");
    offer->set_instance_type("instance");
    offer->set_instance_name(name);
    offer->mutable_resources()->set_cpus(8);
    offer->mutable_resources()->set_memory_bytes(32ULL << 30);
    offer->set_availability(availability);
  }
  job->mutable_offers(0)->set_blocks(2);
  job->mutable_offers(0)->set_total_blocks(8);
  auto* hosts_in_use = job->add_unavailable_hosts();
  hosts_in_use->set_reason("needs 2 GPUs, 1 free");
  hosts_in_use->set_host_count(1);
  hosts_in_use->add_instance_names("gpu-3");
  auto* small_hosts = job->add_unavailable_hosts();
  small_hosts->set_reason("needs compute capability 9.0, that of GPU X1 is not known");
  small_hosts->set_host_count(3);
  small_hosts->add_instance_names("small-0");
  small_hosts->add_instance_names("small-1");
  return plan;
}

std::string AfterHeader(const std::string& screen) {
  return screen.substr(screen.find("\n\n") + 2);
}

TEST_CASE("the plan tells why hosts do not fit, at 80 columns") {
  CHECK(AfterHeader(RunPlanScreen(PlanOfOwnHosts(), false, 3, k80)) ==
        " #     BACKEND         RESOURCES         INSTANCE TYPE    PRICE\n"
        " 1     ssh (remote)    cpu=8 mem=32GB    gpu-3 (2/8)      $0       busy\n"
        " 2     ssh (remote)    cpu=8 mem=32GB    small-0          $0       not available\n"
        "       ...\n"
        " Shown 2 of 4 offers, $0 max\n"
        " Not available now:\n"
        "   gpu-3: needs 2 GPUs, 1 free\n"
        "   small-0, small-1 and 1 more: needs compute capability 9.0, that of GPU X1 is\n"
        "     not known\n"
        "No host is free now: the run waits for one\n");
}

TEST_CASE("the plan tells why hosts do not fit, at 200 columns") {
  CHECK(
      AfterHeader(RunPlanScreen(PlanOfOwnHosts(), false, 3, {.width = 200})) ==
      " #  BACKEND       RESOURCES       INSTANCE TYPE  PRICE\n"
      " 1  ssh (remote)  cpu=8 mem=32GB  gpu-3 (2/8)    $0     busy\n"
      " 2  ssh (remote)  cpu=8 mem=32GB  small-0        $0     not available\n"
      "    ...\n"
      " Shown 2 of 4 offers, $0 max\n"
      " Not available now:\n"
      "   gpu-3: needs 2 GPUs, 1 free\n"
      "   small-0, small-1 and 1 more: needs compute capability 9.0, that of GPU X1 is not known\n"
      "No host is free now: the run waits for one\n");
}

TEST_CASE("a plan with a free host is short about the others") {
  api::v1::RunPlan plan = PlanOfOwnHosts();
  auto* job = plan.mutable_job_plans(0);
  job->mutable_offers(0)->set_availability(api::v1::OFFER_AVAILABILITY_IDLE);
  for (int i = 0; i < 3; ++i) {
    auto* hosts = job->add_unavailable_hosts();
    hosts->set_reason(std::string("reason ") + std::to_string(i));
    hosts->set_host_count(1);
    hosts->add_instance_names("host");
  }
  const std::string text = RunPlanScreen(plan, false, 3, kPipe);
  CHECK_THAT(text, Contains("reason 0") && !Contains("reason 1") && Contains("-v shows all"));
  CHECK_THAT(text, !Contains("No host"));
  CHECK_THAT(RunPlanScreen(plan, true, 3, kPipe), Contains("reason 2"));
}

TEST_CASE("a plan without any host that fits says so") {
  api::v1::RunPlan plan = PlanOfOwnHosts();
  plan.mutable_job_plans(0)->mutable_offers()->DeleteSubrange(0, 1);
  CHECK_THAT(RunPlanScreen(plan, false, 3, kPipe), Contains("No host fits: the run fails"));
}

TEST_CASE("changes are told with their values, or by their paths alone") {
  google::protobuf::RepeatedPtrField<api::v1::FieldChange> changes;
  const auto add = [&](const char* path, const char* current, const char* wanted) {
    auto* change = changes.Add();
    change->set_path(path);
    change->set_current(current);
    change->set_wanted(wanted);
  };
  google::protobuf::RepeatedPtrField<std::string> fields;
  *fields.Add() = "env";
  CHECK(ChangesText(changes, fields, k80) == " - env\n");
  add("resources.memory", "8GB..", "16GB..");
  add("env.TOKEN", "", "***");
  add("ssh_config.hosts", "10.0.0.3", "");
  add("groups", "", "");
  add("commands[0]",
      "python train.py --epochs 10 --batch-size 64",
      "python train.py --epochs 20 --batch-size 64");
  CHECK(ChangesText(changes, fields, k80) ==
        " ~ resources.memory: 8GB.. -> 16GB..\n"
        " + env.TOKEN: ***\n"
        " - ssh_config.hosts: 10.0.0.3\n"
        " ~ groups\n"
        " ~ commands[0]: python train.py --epochs 10 --batch-size 64 -> python train.py\n"
        "     --epochs 20 --batch-size 64\n");
}

TEST_CASE("lines are broken at blanks") {
  CHECK(Wrap("aa bb cc", 0, "- ", "  ") == "- aa bb cc\n");
  CHECK(Wrap("aa bb cc", 7, "- ", "  ") == "- aa bb\n  cc\n");
  CHECK(Wrap("aaaaaaaaaa b", 5, "", "") == "aaaaaaaaaa\nb\n");
  CHECK(Wrap("", 5, " ", "") == " \n");
}

TEST_CASE("long lines of a message are broken, those of a file are not") {
  const std::string message =
      "a.yml:3:1: commands: must be a list\n  3 | commands: python train.py\n";
  CHECK(WrapMessage(message, 0) == message);
  CHECK(WrapMessage(message, 80) == message);
  CHECK(WrapMessage(message, 22) ==
        "a.yml:3:1: commands:\n    must be a list\n  3 | commands: python train.py\n");
  CHECK(WrapMessage("", 5).empty());
}

TEST_CASE("fleets show their instances") {
  api::v1::Fleet fleet;
  fleet.set_name("lab");
  fleet.set_status(api::v1::FLEET_STATUS_ACTIVE);
  *fleet.mutable_created_at() = At(2h);
  fleet.mutable_spec()->mutable_configuration()->mutable_ssh_config()->add_hosts();
  api::v1::Instance* instance = fleet.add_instances();
  instance->set_status(api::v1::INSTANCE_STATUS_BUSY);
  instance->set_total_blocks(4);
  instance->set_busy_blocks(1);
  instance->set_is_unreachable(true);
  instance->set_backend("ssh");
  instance->set_region("remote");
  *instance->mutable_created_at() = At(2h);
  CHECK(
      FleetTable({fleet}, {.now = kNow}).Render(kPipe) ==
      " NAME           NODES  GPU  SPOT       BACKEND       PRICE  STATUS                  "
      "CREATED\n"
      " lab            1      -    -          ssh           -      active                  2 hours "
      "ago\n"
      "    instance=0         -    on-demand  ssh (remote)  $0     1/4 busy (unreachable)  2 hours "
      "ago\n");
}

TEST_CASE("JSON has words for enums, numbers for sizes, and leaves out what is unset") {
  api::v1::Run run = Service();
  run.mutable_jobs(0)->mutable_submissions(0)->set_exit_status(0);
  const std::string text = ToJson(run);
  CHECK_THAT(text, Contains("\"status\": \"running\"") && Contains("\"exit_status\": 0"));
  CHECK_THAT(text, Contains("\"memory_bytes\": 17179869184"));
  CHECK_THAT(text, Contains("\"submitted_at\": \"2027-01-15T07:48:00Z\""));
  CHECK_THAT(text, !Contains("finished_at"));
  CHECK(ToJsonList("main", "runs", {}) == "{\n  \"project\": \"main\",\n  \"runs\": []\n}\n");
}

TEST_CASE("hardware that is not known yet is a dash") {
  common::v1::Resources resources;
  CHECK(FormatHardware(resources) == "-");
  resources.set_cpus(2);
  CHECK(FormatHardware(resources) != "-");
}

TEST_CASE("sparkline") {
  CHECK(Sparkline({0, 0.5, 1, 2, -1, 0.99}) == "▁▄▇▇ ▇");
  CHECK(Sparkline({}).empty());
}

TEST_CASE("usage of jobs over time") {
  CHECK(UsageChart({JobUsage()}, {}, {}).empty());
  JobUsage job;
  job.metrics.mutable_resources()->set_cpus(4);
  job.metrics.mutable_resources()->set_memory_bytes(8ULL << 30);
  job.metrics.mutable_resources()->add_gpus()->set_memory_bytes(80ULL << 30);
  for (int i = 0; i < 3; ++i) {
    api::v1::UsagePoint* point = job.metrics.add_points();
    point->mutable_time()->set_seconds(1'000'000 + i * 10);
    if (i > 0) point->set_cpus_used(2.0 * i);
    point->set_memory_used_bytes(2ULL << 30);
    point->add_gpus()->set_usage_ratio(0.5);
    point->mutable_gpus(0)->set_memory_used_bytes(40ULL << 30);
  }
  const std::string text = UsageChart({job}, {.is_live = true}, {.width = 70});
  CHECK_THAT(text,
             Contains("job=0") && Contains("cpu") && Contains("100%") && Contains("2GB/8GB") &&
                 Contains("gpu=0") && Contains("50%") && Contains("40GB/80GB") && Contains("now"));
  CHECK_THAT(UsageChart({job}, {}, {}), !Contains("now"));
  JobUsage other = job;
  other.replica_num = 1;
  CHECK_THAT(UsageChart({job, other}, {}, {}), Contains("replica=1 job=0"));
}

}  // namespace
}  // namespace dstack::cli
