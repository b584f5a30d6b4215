#pragma once

#include <cstdint>
#include <string>

#include "dstack/api/v1/run.pb.h"

#include "services/server/domain/instance/instance.h"

// Hosts and wishes for tests.
namespace dstack::server {

inline constexpr std::uint64_t kGiB = 1ULL << 30;

inline Instance Host(const std::string& name,
                     std::uint32_t cpus,
                     std::uint64_t memory_gib,
                     std::uint32_t blocks = 1) {
  Instance instance;
  instance.id = InstanceId("id-" + name);
  instance.project_id = ProjectId("main");
  instance.fleet_name = "fleet";
  instance.name = name;
  instance.status = api::v1::INSTANCE_STATUS_IDLE;
  instance.container_runtime = "docker";
  instance.resources.emplace();
  instance.resources->set_cpus(cpus);
  instance.resources->set_memory_bytes(memory_gib * kGiB);
  instance.total_blocks = blocks;
  return instance;
}

inline api::v1::RunSpec Wants(std::int64_t cpus_min, std::uint64_t memory_min_gib) {
  api::v1::RunSpec spec;
  auto* resources = spec.mutable_configuration()->mutable_resources();
  resources->mutable_cpu()->mutable_count()->set_min(cpus_min);
  resources->mutable_memory()->set_min_bytes(memory_min_gib * kGiB);
  spec.mutable_configuration()->mutable_task();
  return spec;
}

}  // namespace dstack::server
