// Outputs of the makers' tools as their documents have them (tests/fixtures/probes/README.md),
// whole and damaged, and trees of sysfs. What real tools printed: recorded_probes_test.cc.

#include <catch2/catch.hpp>

#include "libs/testing/fake_root.h"
#include "services/shim/devices/amd_probe.h"
#include "services/shim/devices/fake_tools.h"
#include "services/shim/devices/gaudi_probe.h"
#include "services/shim/devices/gpu_text.h"
#include "services/shim/devices/nvidia_probe.h"
#include "services/shim/devices/nvidia_smi.h"
#include "services/shim/devices/pci_tree.h"
#include "services/shim/devices/probe_fixture.h"
#include "services/shim/devices/tenstorrent_probe.h"
#include "services/shim/devices/tpu_probe.h"

namespace dstack::shim {
namespace {

using common::v1::Gpu;
using testing::FakeRoot;

TEST_CASE("G15 the driver's version is trimmed and placeholders are empty") {
  CHECK(KnownText("  535.104.05\n") == "535.104.05");
  for (const char* word : {"N/A",
                           "[N/A]",
                           "n/a",
                           "Unknown",
                           "[Unknown Error]",
                           "[Not Supported]",
                           "not supported",
                           "None",
                           "-",
                           ""}) {
    CHECK(KnownText(word).empty());
  }
}

TEST_CASE("names without the makers' words") {
  CHECK(ShortNvidiaName("NVIDIA GeForce RTX 4090") == "RTX 4090");
  CHECK(ShortNvidiaName("Tesla T4") == "T4");
  CHECK(ShortAmdName("MI300X-O") == "MI300X");
  CHECK(ShortAmdName("AMD Instinct MI210") == "MI210");
  CHECK(ShortAmdName("AMD INSTINCT MI250 (MCM) OAM AC MBA") == "MI250");
  CHECK(ShortAmdName("AMD Radeon PRO W7900") == "Radeon PRO W7900");
  CHECK(GaudiName("HL-225B") == "Gaudi2");
  CHECK(GaudiName("HL-9") == "HL-9");
  CHECK(PciAddress("00000000:0F:00.0") == "0000:0f:00.0");
  CHECK(PciAddress("[N/A]").empty());
}

TEST_CASE("nvidia-smi of several versions") {
  const auto old = ParseNvidiaSmi(FakeTools::Fixture("nvidia_smi_440.csv"));
  REQUIRE(old.size() == 1);
  CHECK(old[0].gpu.name() == "T4");
  CHECK(old[0].gpu.memory_bytes() == 15109 * kMebibyte);
  CHECK(old[0].gpu.resource_id() == "GPU-19a8b3b8-47ab-11e9-9c7b-0242ac110002");
  CHECK(old[0].gpu.driver_version() == "440.33.01");
  CHECK(old[0].gpu.pci_address() == "0000:00:1e.0");

  // A row with another number of fields ends the list and keeps the earlier ones.
  const auto tail = ParseNvidiaSmi(FakeTools::Fixture("nvidia_smi_550_broken_tail.csv"));
  REQUIRE(tail.size() == 2);
  CHECK(tail[1].gpu.memory_bytes() == 0);
  CHECK(tail[1].gpu.driver_version().empty());
  CHECK(ParseNvidiaSmi("").empty());
  CHECK(ParseNvidiaSmi("NVIDIA-SMI has failed because it couldn't communicate").empty());
}

TEST_CASE("a divided card is replaced by its slices") {
  FakeTools tools;
  tools.AnswerFile("nvidia-smi --query-gpu", "nvidia_smi_470_mig.csv");
  tools.AnswerFile("nvidia-smi -L", "nvidia_smi_470_list.txt");
  const auto found = AskNvidiaSmi(tools, {});
  REQUIRE(found.ok());
  REQUIRE(found->gpus.size() == 4);
  CHECK(found->gpus[0].parent_uuid().empty());
  const Gpu& slice = found->gpus[1];
  CHECK(slice.resource_id() == "MIG-7f2e2f6b-6f3c-5f25-9c65-2bb6b1d8d3b3");
  CHECK(slice.parent_uuid() == "GPU-c6d4f1fe-1a12-6ae2-3a3f-d1f7a2d0d2a9");
  CHECK(slice.memory_bytes() == 20 * kGibibyte);
  CHECK(slice.name() == "A100-SXM4-40GB MIG 3g.20gb");
  CHECK(found->gpus[3].memory_bytes() == 5 * kGibibyte);
}

TEST_CASE("an old nvidia-smi refuses the newer field; a missing one is an error") {
  FakeRoot root;
  FakeTools tools;
  NvidiaProbe absent({tools, root.path()}, {});
  CHECK_FALSE(absent.IsPresent());
  root.Write("/dev/nvidiactl", "");
  CHECK(absent.IsPresent());
  CHECK(absl::IsNotFound(absent.Find({}).status()));
  const std::string query =
      "nvidia-smi --query-gpu=name,memory.total,uuid,driver_version,pci.bus_id";
  tools.AnswerFile(query + " ", "nvidia_smi_440.csv");
  tools.Answer(query + ",mig", absl::FailedPreconditionError("not a valid field to query"));
  CHECK(Found(NvidiaProbe({tools, root.path()}, {})).gpus.size() == 1);
}

TEST_CASE("G12 AMD: a flat array and the wrapped form") {
  const auto flat = ParseAmdSmi(FakeTools::Fixture("amd_smi_6.json")).value();
  REQUIRE(flat.size() == 2);
  CHECK(flat[0].name() == "MI300X");
  CHECK(flat[0].memory_bytes() == 196592 * kMebibyte);
  CHECK(flat[0].pci_address() == "0000:05:00.0");
  CHECK(flat[0].driver_version() == "6.7.8");
  const auto wrapped = ParseAmdSmi(FakeTools::Fixture("amd_smi_7.json")).value();
  REQUIRE(wrapped.size() == 1);
  CHECK(wrapped[0].name() == "MI300X");
  CHECK(wrapped[0].driver_version() == "6.14.14");
}

TEST_CASE("G13 AMD: version before driver_version, in any case") {
  CHECK(AmdDriverVersion(R"({"version": "1.2", "driver_version": "3.4"})") == "1.2");
  CHECK(AmdDriverVersion(R"({"driver_version": "3.4"})") == "3.4");
  CHECK(AmdDriverVersion(R"({"VERSION": "5.6"})") == "5.6");
}

TEST_CASE("G14 AMD: a driver that is absent, of a wrong type or a placeholder loses no card") {
  CHECK(AmdDriverVersion(R"({"version": "N/A"})").empty());
  CHECK(AmdDriverVersion(R"({"version": 7})").empty());
  CHECK(AmdDriverVersion(R"("N/A")").empty());
  CHECK(AmdDriverVersion("null").empty());
  const auto gpus = ParseAmdSmi(FakeTools::Fixture("amd_smi_igpu.json")).value();
  REQUIRE(gpus.size() == 2);
  CHECK(gpus[0].driver_version().empty());
}

TEST_CASE("AMD: damaged outputs of both tools") {
  for (const char* text : {"", "{", "[1,2", "ERROR: no device", "{\"gpu_data\": 3}"}) {
    CHECK(ParseAmdSmi(text).status().code() == absl::StatusCode::kInvalidArgument);
  }
  CHECK(ParseAmdSmi("[1, null, {\"asic\": 7}]").value().size() == 1);
  const std::string whole = FakeTools::Fixture("amd_smi_6.json");
  CHECK_FALSE(ParseAmdSmi(whole.substr(0, whole.size() / 2)).ok());
  CHECK_FALSE(ParseRocmSmi("").ok());
  CHECK(ParseRocmSmi("{\"card0\": 1}").value().empty());
}

TEST_CASE("rocm-smi of two generations") {
  const auto older = ParseRocmSmi(FakeTools::Fixture("rocm_smi_5.json")).value();
  REQUIRE(older.size() == 2);
  CHECK(older[0].name() == "MI250");
  CHECK(older[0].memory_bytes() == 68702699520);
  CHECK(older[0].pci_address() == "0000:c1:00.0");
  CHECK(older[0].driver_version() == "5.18.13");
  CHECK(older[1].name() == "MI100");
  const auto newer = ParseRocmSmi(FakeTools::Fixture("rocm_smi_6.json")).value();
  REQUIRE(newer.size() == 1);
  CHECK(newer[0].name() == "Radeon RX 7900 XT");
}

TEST_CASE("AMD: cards by render node, graphics of the processor left out") {
  FakeRoot root;
  root.Write("/dev/kfd", "");
  root.Link("/dev/dri/by-path/pci-0000:03:00.0-render", "../renderD128");
  root.Link("/dev/dri/by-path/pci-0000:7a:00.0-render", "../renderD129");
  FakeTools tools;
  // The tool fails as a whole where the driver's version cannot be read.
  tools.Answer("amd-smi static --json --asic --vram --bus --driver",
               absl::FailedPreconditionError("exited with status 1"));
  tools.AnswerFile("amd-smi static --json --asic --vram --bus", "amd_smi_igpu.json");
  AmdProbe probe({tools, root.path()});
  CHECK(probe.IsPresent());
  const DeviceList found = Found(std::move(probe));
  REQUIRE(found.gpus.size() == 1);
  CHECK(found.gpus[0].resource_id() == "/dev/dri/renderD128");
  CHECK(found.gpus[0].name() == "Radeon PRO W7900");
}

TEST_CASE("AMD without tools: what the kernel tells, with the links between cards") {
  FakeRoot root;
  for (int i = 0; i < 2; ++i) {
    const std::string device = "/sys/devices/pci0000:00/0000:0" + std::to_string(i + 3) + ":00.0";
    const std::string node = std::to_string(i + 1);
    root.Write(device + "/vendor", "0x1002\n");
    root.Write(device + "/device", "0x74a1\n");
    root.Write(device + "/mem_info_vram_total", "206141652992\n");
    root.Link("/sys/class/drm/renderD12" + std::to_string(8 + i) + "/device", root.path() + device);
    const std::string topology = "/sys/class/kfd/kfd/topology/nodes/" + node;
    root.Write(topology + "/properties",
               "cpu_cores_count 0\nlocation_id " + std::to_string((i + 3) * 256) + "\ndomain 0\n");
    root.Write(topology + "/io_links/0/properties",
               "type 11\nnode_from " + node + "\nnode_to " + std::to_string(2 - i) + "\n");
  }
  FakeTools tools;
  const DeviceList found = Found(AmdProbe({tools, root.path()}));
  REQUIRE(found.gpus.size() == 2);
  CHECK(found.gpus[0].name() == "MI300X");
  CHECK(found.gpus[0].resource_id() == "/dev/dri/renderD128");
  CHECK(found.gpus[0].memory_bytes() == 206141652992);
  CHECK(found.gpus[1].pci_address() == "0000:04:00.0");
  REQUIRE(found.links.size() == 1);
  CHECK(found.links[0].kind() == v1::GPU_LINK_KIND_DIRECT);
}

TEST_CASE("Gaudi: the full answer, and that of versions with fewer fields") {
  FakeTools tools;
  tools.AnswerFile("hl-smi", "hl_smi_1_18.csv");
  const DeviceList full = Found(GaudiProbe({tools, ""}));
  REQUIRE(full.gpus.size() == 2);
  CHECK(full.gpus[1].resource_id() == "1");
  CHECK(full.gpus[1].name() == "Gaudi2");
  CHECK(full.gpus[1].memory_bytes() == 98304 * kMebibyte);
  CHECK(full.gpus[1].pci_address() == "0000:1a:00.0");
  tools.Answer("hl-smi --query-aip=name,memory.total,index,",
               absl::FailedPreconditionError("unknown field"));
  tools.AnswerFile("hl-smi --query-aip=name,memory.total,index ", "hl_smi_1_4.csv");
  const DeviceList old = Found(GaudiProbe({tools, ""}));
  REQUIRE(old.gpus.size() == 2);
  CHECK(old.gpus[0].name() == "Gaudi");
  CHECK(old.gpus[0].driver_version().empty());
  CHECK(ParseHlSmi("HL-225, 98304\n").empty());
}

std::string Board(const std::string& type, const std::string& id, const std::string& bus) {
  return R"({"board_info": {"board_type": ")" + type + R"(", "board_id": ")" + id +
         R"(", "bus_id": ")" + bus + R"("}})";
}

std::vector<Gpu> Boards(const std::vector<std::string>& boards) {
  return ParseTtSmi("{\"device_info\": [" + absl::StrJoin(boards, ",") + "]}").value();
}

TEST_CASE("G16 Tenstorrent: the driver's file is read and trimmed") {
  FakeRoot root;
  CHECK(TenstorrentDriverVersion(root.path()).empty());
  root.Write("/sys/module/tenstorrent/version", "1.31\n");
  CHECK(TenstorrentDriverVersion(root.path()) == "1.31");
}

TEST_CASE("G17 Tenstorrent: single, multiple, empty and missing lists, and broken JSON") {
  CHECK(Boards({Board("n150 L", "1", "0000:01:00.0")}).size() == 1);
  CHECK(
      Boards({Board("n150 L", "1", "0000:01:00.0"), Board("n150 L", "2", "0000:02:00.0")}).size() ==
      2);
  CHECK(Boards({}).empty());
  CHECK(ParseTtSmi("{}").value().empty());
  CHECK(ParseTtSmi(" Gathering Information\n{\"device_info\": []}\n").value().empty());
  CHECK_FALSE(ParseTtSmi("{\"device_info\": [").ok());
  CHECK_FALSE(ParseTtSmi("").ok());
}

TEST_CASE("G18 Tenstorrent: an n150 is one device of 12 GiB with index 0") {
  const auto gpus = ParseTtSmi(FakeTools::Fixture("tt_smi_n150.json")).value();
  REQUIRE(gpus.size() == 1);
  CHECK(gpus[0].name() == "n150");
  CHECK(gpus[0].memory_bytes() == 12 * kGibibyte);
  CHECK(gpus[0].resource_id() == "0");
}

TEST_CASE("G19 Tenstorrent: left and right chips of four n300 are four devices of 24 GiB") {
  const auto gpus = ParseTtSmi(FakeTools::Fixture("tt_smi_t3000.json")).value();
  REQUIRE(gpus.size() == 4);
  for (const Gpu& gpu : gpus) {
    CHECK(gpu.name() == "n300");
    CHECK(gpu.memory_bytes() == 24 * kGibibyte);
  }
}

TEST_CASE("G20 Tenstorrent: names with a suffix of their own keep the memory of their prefix") {
  const auto gpus = Boards({Board("n150-custom", "1", "0000:01:00.0"),
                            Board("n300-lab", "2", "0000:02:00.0"),
                            Board("n300-lab", "2", "N/A")});
  REQUIRE(gpus.size() == 2);
  CHECK(gpus[0].name() == "n150-custom");
  CHECK(gpus[0].memory_bytes() == 12 * kGibibyte);
  CHECK(gpus[1].memory_bytes() == 24 * kGibibyte);
}

TEST_CASE("G21 Tenstorrent: a Wormhole galaxy is 32 devices although they share one board") {
  const auto gpus = ParseTtSmi(FakeTools::Fixture("tt_smi_wh_galaxy.json")).value();
  REQUIRE(gpus.size() == 32);
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    CHECK(gpus[i].memory_bytes() == 12 * kGibibyte);
    CHECK(gpus[i].resource_id() == std::to_string(i));
  }
}

TEST_CASE("G22 Tenstorrent: revisions of Blackhole boards") {
  const auto gpus = Boards({Board("p100", "1", "0000:01:00.0"),
                            Board("bh-scrappy", "2", "0000:02:00.0"),
                            Board("p150a", "3", "0000:03:00.0"),
                            Board("p150c", "4", "0000:04:00.0"),
                            Board("p300b", "5", "0000:05:00.0")});
  REQUIRE(gpus.size() == 5);
  CHECK(gpus[0].name() == "p100a");
  CHECK(gpus[0].memory_bytes() == 28 * kGibibyte);
  CHECK(gpus[1].name() == "p100a");
  CHECK(gpus[2].name() == "p150");
  CHECK(gpus[3].memory_bytes() == 32 * kGibibyte);
  CHECK(gpus[4].name() == "p300");
}

TEST_CASE(
    "G23 Tenstorrent: eight p150 keep their order, two local chips of a p300 are two devices") {
  const auto eight = ParseTtSmi(FakeTools::Fixture("tt_smi_p150x8.json")).value();
  REQUIRE(eight.size() == 8);
  for (std::size_t i = 0; i < eight.size(); ++i) {
    CHECK(eight[i].uuid() == "46131924" + std::to_string(i));
    CHECK(eight[i].resource_id() == std::to_string(i));
  }
  CHECK(Boards({Board("p300c", "7", "0000:01:00.0"), Board("p300c", "7", "0000:02:00.0")}).size() ==
        2);
}

TEST_CASE(
    "G24 Tenstorrent: a remote chip adds to its local one, a Blackhole galaxy is 32 devices") {
  const auto pair = Boards({Board("p300c", "7", "0000:01:00.0"), Board("p300c", "7", "N/A")});
  REQUIRE(pair.size() == 1);
  CHECK(pair[0].memory_bytes() == 64 * kGibibyte);
  const auto galaxy = ParseTtSmi(FakeTools::Fixture("tt_smi_bh_galaxy.json")).value();
  REQUIRE(galaxy.size() == 32);
  CHECK(galaxy[31].memory_bytes() == 32 * kGibibyte);
}

TEST_CASE("Tenstorrent without its tool: what the driver tells") {
  FakeRoot root;
  root.Write("/dev/tenstorrent/0", "");
  root.Write("/sys/class/tenstorrent/tenstorrent!0/tt_card_type", "n300\n");
  root.Write("/sys/module/tenstorrent/version", "2.0.0\n");
  FakeTools tools;
  const DeviceList found = Found(TenstorrentProbe({tools, root.path()}));
  REQUIRE(found.gpus.size() == 1);
  CHECK(found.gpus[0].memory_bytes() == 24 * kGibibyte);
  CHECK(found.gpus[0].driver_version() == "2.0.0");
}

TEST_CASE("TPU: chips on the bus, without Google's other devices") {
  FakeRoot root;
  FakeTools tools;
  TpuProbe probe({tools, root.path()});
  CHECK_FALSE(probe.IsPresent());
  root.Write("/dev/vfio/0", "");
  CHECK(probe.IsPresent());
  for (const auto& [address, device] : {std::pair{"0000:00:04.0", "0x0063"},
                                        std::pair{"0000:00:05.0", "0x0063"},
                                        std::pair{"0000:00:06.0", "0x0042"}}) {
    const std::string dir = std::string("/sys/bus/pci/devices/") + address;
    root.Write(dir + "/vendor", "0x1ae0\n");
    root.Write(dir + "/device", std::string(device) + "\n");
  }
  const DeviceList found = Found(std::move(probe));
  REQUIRE(found.gpus.size() == 2);
  CHECK(found.gpus[0].name() == "v5e");
  CHECK(found.gpus[1].resource_id() == "1");
  CHECK(found.gpus[1].memory_bytes() == 16 * kGibibyte);
}

TEST_CASE("places in the PCI tree tell how near two devices are") {
  const std::string base = "/sys/devices/pci0000:3a/0000:3a:00.0";
  CHECK(LinkByPath(base + "/0000:3b:00.0/0000:3c:04.0/0000:3d:00.0",
                   base + "/0000:3b:00.0/0000:3c:08.0/0000:3e:00.0") ==
        v1::GPU_LINK_KIND_PCI_SWITCH);
  CHECK(LinkByPath(base + "/0000:3b:00.0", "/sys/devices/pci0000:3a/0000:3a:01.0/0000:40:00.0") ==
        v1::GPU_LINK_KIND_HOST_BRIDGE);
  CHECK(LinkByPath(base + "/0000:3b:00.0", "/sys/devices/pci0000:5c/0000:5c:00.0/0000:5d:00.0") ==
        v1::GPU_LINK_KIND_SYSTEM);

  FakeRoot root;
  for (const auto& [bus, address, node] : {std::tuple{"pci0000:3a", "0000:3b:00.0", "0"},
                                           std::tuple{"pci0000:5c", "0000:5d:00.0", "0"},
                                           std::tuple{"pci0000:80", "0000:81:00.0", "-1"}}) {
    const std::string device = std::string("/sys/devices/") + bus + "/" + address;
    root.Write(device + "/numa_node", std::string(node) + "\n");
    root.Link(std::string("/sys/bus/pci/devices/") + address, root.path() + device);
  }
  std::vector<Gpu> gpus(3);
  gpus[0].set_pci_address("0000:3b:00.0");
  gpus[1].set_pci_address("0000:5d:00.0");
  gpus[2].set_pci_address("0000:81:00.0");
  for (std::size_t i = 0; i < 3; ++i) gpus[i].set_resource_id(std::to_string(i));
  std::vector<v1::GpuLink> links;
  AddPciFacts(root.path(), &gpus, &links);
  CHECK(gpus[0].numa_node() == 0);
  CHECK_FALSE(gpus[2].has_numa_node());
  REQUIRE(links.size() == 3);
  CHECK(links[0].kind() == v1::GPU_LINK_KIND_NUMA_NODE);
  CHECK(links[1].kind() == v1::GPU_LINK_KIND_SYSTEM);
}

}  // namespace
}  // namespace dstack::shim
