// Runs the rows of tests/fixtures/vectors/matching.txt; its head tells the format.
#include <fstream>
#include <map>

#include <catch2/catch.hpp>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "fmt/format.h"
#include "libs/config/accelerators.h"
#include "libs/config/document.h"
#include "libs/config/shorthand/memory.h"
#include "libs/testing/paths.h"
#include "services/server/domain/offer/match.h"
#include "services/server/domain/offer/test_hosts.h"
#include "services/server/domain/spec/effective_spec.h"

namespace dstack::server {
namespace {

using Fields = std::vector<std::string>;

Fields Words(const std::string& text) { return absl::StrSplit(text, ' '); }

std::uint64_t Bytes(const std::string& text) {
  if (text == "-") return 0;
  const auto bytes = config::ParseMemory(text);
  REQUIRE(bytes.ok());
  return *bytes;
}

void AddGpus(const Fields& words, Instance* host) {
  for (int i = 0; i < std::stoi(words[0]); ++i) {
    auto* gpu = host->resources->add_gpus();
    gpu->set_vendor(words[1] == "amd" ? common::v1::GPU_VENDOR_AMD : common::v1::GPU_VENDOR_NVIDIA);
    gpu->set_name(words[2]);
    gpu->set_memory_bytes(Bytes(words[3]));
  }
}

Instance HostOf(const Fields& row) {
  const Fields machine = Words(row[2]);
  Instance host = Host(row[1], static_cast<std::uint32_t>(std::stoul(machine[0])), 0);
  host.resources->set_memory_bytes(Bytes(machine[1]));
  host.resources->set_disk_bytes(Bytes(machine[2]));
  host.resources->set_cpu_arch(machine[3] == "arm" ? common::v1::CPU_ARCH_ARM
                                                   : common::v1::CPU_ARCH_X86);
  if (row[3] == "-") return host;
  const Fields groups = absl::StrSplit(row[3], ", ");
  for (const std::string& group : groups) AddGpus(Words(group), &host);
  return host;
}

std::string HostsThatFit(const Fields& row, const std::vector<Instance>& hosts) {
  const std::string keys = row[0] == "-" ? "" : row[0] + "\n";
  const auto document = config::ParseDocument(
      fmt::format("type: task\ncommands: [x]\n{}resources: {}\n", keys, row[1]), "vector");
  if (!document.ok()) return document.status().ToString();
  api::v1::RunSpec spec;
  *spec.mutable_configuration() = std::get<config::v1::RunConfiguration>(document->configuration);
  const auto effective = EffectiveSpec(spec);
  if (!effective.ok()) return effective.status().ToString();
  std::vector<std::string> names;
  for (const Instance& host : hosts) {
    if (Judge(*effective, std::nullopt, host).standing == Candidate::Standing::kFree)
      names.push_back(host.name);
  }
  return names.empty() ? "none" : absl::StrJoin(names, " ");
}

TEST_CASE("hosts that have what a run asks for") {
  std::ifstream file(testing::SourceDir() + "/tests/fixtures/vectors/matching.txt");
  REQUIRE(file);
  std::vector<Instance> hosts;
  int rows = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const Fields row = absl::StrSplit(line, " | ");
    if (row[0] == "host") {
      hosts.push_back(HostOf(row));
      continue;
    }
    REQUIRE(row.size() == 3);
    ++rows;
    DYNAMIC_SECTION(line) { CHECK(HostsThatFit(row, hosts) == row[2]); }
  }
  CHECK(rows > 30);
}

}  // namespace
}  // namespace dstack::server
