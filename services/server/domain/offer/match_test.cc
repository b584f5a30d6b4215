#include "services/server/domain/offer/match.h"

#include <functional>

#include <catch2/catch.hpp>

#include "services/server/domain/offer/test_hosts.h"

namespace dstack::server {
namespace {

void AddGpu(Instance& host) {
  common::v1::Gpu* gpu = host.resources->add_gpus();
  gpu->set_vendor(common::v1::GPU_VENDOR_NVIDIA);
  gpu->set_name("L4");
  gpu->set_memory_bytes(24 * kGiB);
}

TEST_CASE("an offer says why a host does not fit") {
  struct Row {
    const char* name;
    std::function<void(api::v1::RunSpec*, Instance*)> change;
    const char* reason;
  };
  const Row row = GENERATE(
      Row{"cpus",
          [](auto* spec, auto*) {
            spec->mutable_configuration()
                ->mutable_resources()
                ->mutable_cpu()
                ->mutable_count()
                ->set_min(9);
          },
          "needs 9 CPUs, has 8"},
      Row{"memory",
          [](auto* spec, auto*) {
            spec->mutable_configuration()->mutable_resources()->mutable_memory()->set_min_bytes(
                64 * kGiB);
          },
          "needs 64GB of memory, has 32GB"},
      Row{"exact count",
          [](auto* spec, auto*) {
            auto* count =
                spec->mutable_configuration()->mutable_resources()->mutable_cpu()->mutable_count();
            count->set_min(4);
            count->set_max(4);
          },
          "wants at most 4 CPUs, has 8"},
      Row{"gpu",
          [](auto* spec, auto*) {
            spec->mutable_configuration()
                ->mutable_resources()
                ->mutable_gpu()
                ->mutable_count()
                ->set_min(1);
          },
          "needs 1 GPU, has 0"},
      Row{"no GPU wanted",
          [](auto* spec, auto* host) {
            spec->mutable_configuration()
                ->mutable_resources()
                ->mutable_gpu()
                ->mutable_count()
                ->set_max(0);
            AddGpu(*host);
          },
          "wants no GPU, has 1"},
      Row{"GPU vendor",
          [](auto* spec, auto* host) {
            spec->mutable_configuration()->mutable_resources()->mutable_gpu()->set_vendor(
                config::v1::GPU_VENDOR_AMD);
            AddGpu(*host);
          },
          "needs AMD GPUs, has NVIDIA ones"},
      Row{"GPU model",
          [](auto* spec, auto* host) {
            auto* gpu = spec->mutable_configuration()->mutable_resources()->mutable_gpu();
            gpu->add_name("H100");
            gpu->add_name("H200");
            AddGpu(*host);
          },
          "needs GPU H100 or H200, has L4"},
      Row{"GPU memory",
          [](auto* spec, auto* host) {
            spec->mutable_configuration()
                ->mutable_resources()
                ->mutable_gpu()
                ->mutable_memory()
                ->set_min_bytes(40 * kGiB);
            AddGpu(*host);
          },
          "needs 40GB of memory per GPU, has 24GB"},
      Row{"GPU memory in total",
          [](auto* spec, auto* host) {
            spec->mutable_configuration()
                ->mutable_resources()
                ->mutable_gpu()
                ->mutable_total_memory()
                ->set_min_bytes(40 * kGiB);
            AddGpu(*host);
          },
          "needs 40GB of GPU memory, has 24GB"},
      Row{"compute capability",
          [](auto* spec, auto* host) {
            auto* gpu = spec->mutable_configuration()->mutable_resources()->mutable_gpu();
            gpu->mutable_compute_capability()->set_major(9);
            AddGpu(*host);
          },
          "needs compute capability 9.0, L4 has 8.9"},
      Row{"compute capability of an unknown GPU",
          [](auto* spec, auto* host) {
            auto* gpu = spec->mutable_configuration()->mutable_resources()->mutable_gpu();
            gpu->mutable_compute_capability()->set_major(9);
            AddGpu(*host);
            host->resources->mutable_gpus(0)->set_name("X1");
          },
          "needs compute capability 9.0, that of GPU X1 is not known"},
      Row{"architecture",
          [](auto* spec, auto*) {
            spec->mutable_configuration()->mutable_resources()->mutable_cpu()->set_arch(
                config::v1::CPU_ARCH_ARM);
          },
          "needs CPU architecture arm, has x86"},
      Row{"default image",
          [](auto*, auto* host) { host->resources->set_cpu_arch(common::v1::CPU_ARCH_ARM); },
          "is an arm host, the default image is for x86: name an `image`"},
      Row{"disk",
          [](auto* spec, auto* host) {
            spec->mutable_configuration()
                ->mutable_resources()
                ->mutable_disk()
                ->mutable_size()
                ->set_min_bytes(100 * kGiB);
            host->resources->set_disk_bytes(50 * kGiB);
          },
          "needs 100GB of disk, has 50GB"},
      Row{"backend",
          [](auto* spec, auto*) {
            spec->mutable_configuration()->mutable_profile()->add_backends("aws");
          },
          "is of backend `remote`, the run names aws"},
      Row{"region",
          [](auto* spec, auto*) {
            spec->mutable_configuration()->mutable_profile()->add_regions("eu-west-1");
          },
          "is in region `remote`, the run names eu-west-1"},
      Row{"instance type",
          [](auto* spec, auto*) {
            spec->mutable_configuration()->mutable_profile()->add_instance_types("p4d");
          },
          "is of type `instance`, the run names p4d"},
      Row{"spot",
          [](auto* spec, auto*) {
            spec->mutable_configuration()->mutable_profile()->set_spot_policy(
                config::v1::SPOT_POLICY_SPOT);
          },
          "is no spot instance"},
      Row{"instance",
          [](auto* spec, auto*) {
            auto* instance = spec->mutable_configuration()->mutable_profile()->add_instances();
            instance->mutable_fleet_instance()->mutable_fleet()->set_name("fleet");
            instance->mutable_fleet_instance()->set_instance(7);
          },
          "is not an instance that the run names"},
      Row{"fleet",
          [](auto* spec, auto*) {
            spec->mutable_configuration()->mutable_profile()->add_fleets()->set_name("other");
          },
          "is not in a fleet that the run names"},
      Row{"process host",
          [](auto* spec, auto* host) {
            host->container_runtime = "process";
            spec->mutable_configuration()->set_image("debian");
          },
          "has no container engine, the run names an image"},
      Row{"privileged",
          [](auto* spec, auto*) { spec->mutable_configuration()->set_privileged(true); },
          "cannot run privileged containers: its kernel keeps capabilities back"},
      Row{"docker inside",
          [](auto* spec, auto*) { spec->mutable_configuration()->set_docker(true); },
          "cannot run privileged containers: its kernel keeps capabilities back"},
      Row{"ending",
          [](auto*, auto* host) { host->status = api::v1::INSTANCE_STATUS_TERMINATING; },
          "is being given up"});
  INFO(row.name);
  api::v1::RunSpec spec = Wants(2, 8);
  Instance host = Host("fleet-0", 8, 32);
  row.change(&spec, &host);
  const auto offers = MatchInstances(spec, {host}).offers;
  REQUIRE(offers.size() == 1);
  CHECK(offers[0].availability() == api::v1::OFFER_AVAILABILITY_NOT_AVAILABLE);
  CHECK(offers[0].unavailable_reason() == row.reason);
}

TEST_CASE("a divided host offers the smallest share that suffices") {
  Instance host = Host("fleet-0", 8, 32, 4);
  const auto offers = MatchInstances(Wants(3, 8), {host}).offers;
  REQUIRE(offers.size() == 1);
  CHECK(offers[0].availability() == api::v1::OFFER_AVAILABILITY_IDLE);
  CHECK(offers[0].blocks() == 2);
  CHECK(offers[0].resources().cpus() == 4);
  CHECK(offers[0].resources().memory_bytes() == 16 * kGiB);

  host.busy_blocks = 3;
  const auto busy = MatchInstances(Wants(3, 8), {host}).offers;
  CHECK(busy[0].availability() == api::v1::OFFER_AVAILABILITY_BUSY);
  CHECK(busy[0].unavailable_reason() == "needs 2 of 4 blocks, 1 free");
}

TEST_CASE("usable offers come first") {
  Instance busy = Host("fleet-0", 8, 32);
  busy.busy_blocks = 1;
  const auto offers =
      MatchInstances(Wants(2, 8), {Host("fleet-2", 1, 1), busy, Host("fleet-1", 8, 32)}).offers;
  REQUIRE(offers.size() == 3);
  CHECK(offers[0].instance_name() == "fleet-1");
  CHECK(offers[1].instance_name() == "fleet-0");
  CHECK(offers[2].instance_name() == "fleet-2");
}

TEST_CASE("hosts come in the order of their numbers") {
  std::vector<Instance> hosts;
  for (const std::uint32_t number : {10U, 9U, 2U}) {
    hosts.push_back(Host("fleet-" + std::to_string(number), 8, 32));
    hosts.back().instance_num = number;
  }
  const auto offers = MatchInstances(Wants(2, 8), hosts, {.max_offers = 2}).offers;
  REQUIRE(offers.size() == 2);
  CHECK(offers[0].instance_name() == "fleet-2");
  CHECK(offers[1].instance_name() == "fleet-9");
}

TEST_CASE("a part of a host with GPUs of several kinds is promised no kind") {
  Instance host = Host("fleet-0", 8, 32, 2);
  for (int i = 0; i < 4; ++i) AddGpu(host);
  host.resources->mutable_gpus(2)->set_name("T4");
  host.resources->mutable_gpus(3)->set_name("T4");
  api::v1::RunSpec spec = Wants(2, 8);
  auto& gpu = *spec.mutable_configuration()->mutable_resources()->mutable_gpu();
  gpu.mutable_count()->set_min(2);
  CHECK(Judge(spec, std::nullopt, host).blocks == 1);
  gpu.add_name("T4");
  CHECK(Judge(spec, std::nullopt, host).blocks == 2);
  gpu.mutable_count()->set_min(3);
  std::string why;
  CHECK(Judge(spec, std::nullopt, host, &why).standing == Candidate::Standing::kUnfit);
  CHECK(why == "needs 3 GPUs, has 2");
}

TEST_CASE("hosts that cannot take a run are told by reason") {
  std::vector<Instance> hosts;
  for (int i = 0; i < 5; ++i) hosts.push_back(Host("small-" + std::to_string(i), 1, 1));
  hosts.push_back(Host("large-0", 8, 32));
  hosts.back().busy_blocks = 1;
  const Matches matches = MatchInstances(Wants(2, 8), hosts, {.max_offers = 1});
  CHECK(matches.total_offers == 6);
  REQUIRE(matches.offers.size() == 1);
  CHECK(matches.offers[0].unavailable_reason() == "is in use");
  REQUIRE(matches.unavailable_hosts.size() == 2);
  CHECK(DescribeUnavailable(matches.unavailable_hosts[0]) == "large-0: is in use");
  CHECK(DescribeUnavailable(matches.unavailable_hosts[1]) ==
        "small-0, small-1, small-2 and 2 more: needs 2 CPUs, has 1");
}

TEST_CASE("an offer is the share, the whole host or what is free of it") {
  Instance host = Host("fleet-0", 8, 32, 4);
  host.busy_blocks = 1;
  const auto offered_cpus = [&](OfferExtent extent) {
    return MatchInstances(Wants(2, 8), {host}, {.extent = extent}).offers.at(0).resources().cpus();
  };
  CHECK(offered_cpus(OfferExtent::kRequested) == 2);
  CHECK(offered_cpus(OfferExtent::kWhole) == 8);
  CHECK(offered_cpus(OfferExtent::kFree) == 6);
}

TEST_CASE("the default image does not matter where there is no container engine") {
  Instance host = Host("fleet-0", 8, 32);
  host.container_runtime = "process";
  host.resources->set_cpu_arch(common::v1::CPU_ARCH_ARM);
  CHECK(Judge(Wants(2, 8), std::nullopt, host).standing == Candidate::Standing::kFree);
}

}  // namespace
}  // namespace dstack::server
