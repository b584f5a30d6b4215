// The probes on what real tools of several versions printed (tests/fixtures/probes/README.md):
// whole, with the tool's exit status, slow, cut off and damaged.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>
#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "libs/testing/temp_dir.h"
#include "services/shim/devices/amd_probe.h"
#include "services/shim/devices/fake_tools.h"
#include "services/shim/devices/gaudi_probe.h"
#include "services/shim/devices/gpu_text.h"
#include "services/shim/devices/nvidia_probe.h"
#include "services/shim/devices/nvidia_smi.h"
#include "services/shim/devices/probe_fixture.h"
#include "services/shim/devices/tenstorrent_probe.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;
using common::v1::Gpu;
namespace fs = std::filesystem;

std::string FixtureDir() { return testing::SourceDir() + "/tests/fixtures/probes"; }

// The exit status of a recording; 0 where none is noted.
int StatusOf(const std::string& name) {
  const fs::path file = FixtureDir() + "/recorded/" + name;
  int status = 0;
  const auto text = base::ReadFile(fs::path(file).replace_extension("status").string());
  if (text.ok()) REQUIRE(absl::SimpleAtoi(*text, &status));
  return status;
}

// As DeviceTools would give it.
absl::StatusOr<std::string> Recorded(const std::string& name) {
  const std::string output = FakeTools::Fixture("recorded/" + name);
  if (const int status = StatusOf(name); status != 0) {
    return absl::FailedPreconditionError(fmt::format("exited with status {}", status));
  }
  return output;
}

void Write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  REQUIRE(base::WriteFileAtomic(path.string(), text).ok());
}

// The simulated host on which AMD's tools were recorded; record/lay_tree.py tells the form.
class RecordedHost {
 public:
  explicit RecordedHost(const std::string& name) {
    const std::string text = FakeTools::Fixture("record/hosts/" + name + ".tree");
    fs::path dir;
    std::map<fs::path, std::string> files;
    for (const std::string& line :
         std::vector<std::string>(absl::StrSplit(text, '\n', absl::SkipWhitespace()))) {
      if (line.starts_with("#")) continue;
      if (line.starts_with("/")) {
        dir = path() + line;
        fs::create_directories(dir);
        continue;
      }
      const std::pair<std::string, std::string> entry =
          absl::StrSplit(absl::StripAsciiWhitespace(line), absl::MaxSplits(' ', 1));
      const fs::path file = dir / entry.first;
      if (entry.second.starts_with("-> ")) {
        fs::create_directories(file.parent_path());
        fs::create_symlink(entry.second.substr(3), file);
      } else {
        files[file] += entry.second.empty() ? "" : entry.second + "\n";
      }
    }
    for (const auto& [file, lines] : files) Write(file, lines);
  }

  std::string path() const { return dir_.path(); }

 private:
  testing::TempDir dir_;
};

// What a card of a simulated host is, whoever tells it.
struct Card {
  std::string resource_id;
  std::string pci_address;
  std::uint64_t memory_bytes;
  std::string uuid;
};

const std::map<std::string, std::vector<Card>>& Hosts() {
  static const std::map<std::string, std::vector<Card>> kHosts = {
      {"two_mi300x",
       {{"/dev/dri/renderD128", "0000:05:00.0", 206141652992, "a0f1c5e27b3d9846"},
        {"/dev/dri/renderD136", "0000:26:00.0", 206141652992, "b7d29e4401c8f35a"}}},
      {"one_mi210", {{"/dev/dri/renderD128", "0000:c3:00.0", 68702699520, "91c7e05b3fd2a486"}}},
      {"rx7900_beside_igpu",
       {{"/dev/dri/renderD128", "0000:03:00.0", 25753026560, "5c4b1e77d0a92f38"}}},
      {"nameless_card", {{"/dev/dri/renderD128", "0001:41:00.0", 68702699520, "00c1d2e3f4051627"}}},
  };
  return kHosts;
}

void CheckCards(const DeviceList& found, const std::string& host) {
  const std::vector<Card>& cards = Hosts().at(host);
  REQUIRE(found.gpus.size() == cards.size());
  for (std::size_t i = 0; i < cards.size(); ++i) {
    CHECK(found.gpus[i].resource_id() == cards[i].resource_id);
    CHECK(found.gpus[i].pci_address() == cards[i].pci_address);
    CHECK(found.gpus[i].memory_bytes() == cards[i].memory_bytes);
    CHECK(found.gpus[i].uuid() == cards[i].uuid);
  }
  REQUIRE(found.links.size() == (host == "two_mi300x" ? 1 : 0));
  if (!found.links.empty()) CHECK(found.links[0].kind() == v1::GPU_LINK_KIND_DIRECT);
}

struct AmdRecording {
  const char* tool;
  const char* version;
  const char* host;
  const char* name;
  const char* driver;
};

// Drivers that belong to the kernel have no version of their own; rocm-smi tells the kernel's.
constexpr const char* kKernel = "6.1.0-25-amd64";

constexpr auto kAmdRecordings = std::to_array<AmdRecording>({
    {"amd_smi", "6.1.2", "two_mi300x", "MI300X", "6.12.12"},
    {"amd_smi", "6.1.2", "one_mi210", "MI210", ""},
    {"amd_smi", "6.1.2", "rx7900_beside_igpu", "Radeon RX 7900 XT/7900", ""},
    {"amd_smi", "6.1.2", "nameless_card", "0x7fff", "6.10.5"},
    {"amd_smi", "10.1", "two_mi300x", "MI300X", "6.12.12"},
    {"amd_smi", "10.1", "one_mi210", "MI210", ""},
    {"amd_smi", "10.1", "rx7900_beside_igpu", "Radeon RX 7900 XTX", ""},
    {"amd_smi", "10.1", "nameless_card", "Radeon Graphics", "6.10.5"},
    {"rocm_smi", "5.2.3", "two_mi300x", "MI300X", "6.12.12"},
    {"rocm_smi", "5.2.3", "one_mi210", "MI210", kKernel},
    {"rocm_smi", "5.2.3", "nameless_card", "0x7fff", "6.10.5"},
    {"rocm_smi", "6.1.2", "two_mi300x", "MI300X", "6.12.12"},
    {"rocm_smi", "6.1.2", "one_mi210", "MI210", kKernel},
    {"rocm_smi",
     "6.1.2",
     "rx7900_beside_igpu",
     "Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M",
     kKernel},
    {"rocm_smi", "6.1.2", "nameless_card", "0x7fff", "6.10.5"},
    {"rocm_smi", "6.4.1", "two_mi300x", "MI300X", "6.12.12"},
    {"rocm_smi", "6.4.1", "one_mi210", "MI210", kKernel},
    {"rocm_smi", "6.4.1", "rx7900_beside_igpu", "Radeon RX 7900 XTX", kKernel},
    {"rocm_smi", "6.4.1", "nameless_card", "Radeon Graphics", "6.10.5"},
});

TEST_CASE("AMD: every tool tells the same cards") {
  for (const AmdRecording& recording : kAmdRecordings) {
    const std::string file =
        fmt::format("{}_{}_{}.json", recording.tool, recording.version, recording.host);
    CAPTURE(file);
    const RecordedHost host(recording.host);
    FakeTools tools;
    tools.Answer(recording.tool == std::string("amd_smi") ? "amd-smi static" : "rocm-smi --show",
                 Recorded(file));
    const DeviceList found = Found(AmdProbe({tools, host.path()}));
    CheckCards(found, recording.host);
    for (const Gpu& gpu : found.gpus) {
      CHECK(gpu.name() == recording.name);
      CHECK(gpu.driver_version() == recording.driver);
    }
  }
}

TEST_CASE("AMD: rocm-smi 5 fails for a card without unique id, and is asked without it") {
  const RecordedHost host("rx7900_beside_igpu");
  FakeTools tools;
  const std::string command =
      "rocm-smi --showproductname --showmeminfo vram --showbus --showdriverversion --json";
  tools.Answer(command + " --showuniqueid", Recorded("rocm_smi_5.2.3_rx7900_beside_igpu.json"));
  tools.Answer(command, Recorded("rocm_smi_5.2.3_rx7900_beside_igpu_without_id.json"));
  const DeviceList found = Found(AmdProbe({tools, host.path()}));
  REQUIRE(found.gpus.size() == 1);
  CHECK(found.gpus[0].name() == "Radeon RX 7900 XT/7900 XTX");
  CHECK(found.gpus[0].resource_id() == "/dev/dri/renderD128");
  CHECK(found.gpus[0].uuid().empty());
}

TEST_CASE("AMD: a unique id of 0 is none") {
  const auto gpus = ParseRocmSmi(*Recorded("rocm_smi_6.4.1_rx7900_beside_igpu.json")).value();
  REQUIRE(gpus.size() == 2);
  CHECK(gpus[1].memory_bytes() == 512 * kMebibyte);
  CHECK(gpus[1].uuid().empty());
}

TEST_CASE("AMD: the kernel alone tells the same cards") {
  for (const auto& [name, cards] : Hosts()) {
    CAPTURE(name);
    const RecordedHost host(name);
    FakeTools tools;
    CheckCards(Found(AmdProbe({tools, host.path()})), name);
  }
}

TEST_CASE("AMD: tools that may not open the cards do not hide them") {
  const RecordedHost host("one_mi210");
  for (const std::string tool : {"amd_smi_6.1.2", "amd_smi_10.1", "rocm_smi_6.4.1"}) {
    CAPTURE(tool);
    FakeTools tools;
    tools.Answer(tool.starts_with("amd") ? "amd-smi static" : "rocm-smi --show",
                 Recorded(tool + "_silent_driver.json"));
    const DeviceList found = Found(AmdProbe({tools, host.path()}));
    REQUIRE(found.gpus.size() == 1);
    CHECK(found.gpus[0].name() == "MI210");
    CHECK(found.gpus[0].pci_address() == "0000:c3:00.0");
    CHECK(found.gpus[0].resource_id() == "/dev/dri/renderD128");
  }
}

TEST_CASE("AMD: tools without a driver") {
  const testing::TempDir nothing;
  const RecordedHost host("one_mi210");
  for (const char* amd : {"6.1.2", "10.1"}) {
    for (const char* rocm : {"5.2.3", "6.1.2", "6.4.1"}) {
      CAPTURE(amd, rocm);
      FakeTools tools;
      tools.Answer("amd-smi", Recorded(fmt::format("amd_smi_{}_no_driver.json", amd)));
      tools.Answer("rocm-smi", Recorded(fmt::format("rocm_smi_{}_no_driver.json", rocm)));
      CHECK(Found(AmdProbe({tools, nothing.path()})).gpus.empty());
      CheckCards(Found(AmdProbe({tools, host.path()})), "one_mi210");
    }
  }
}

TEST_CASE("nvidia-smi without a driver or its library is an error") {
  for (const char* version : {"470.256.02", "535.261.03", "550.163.01"}) {
    for (const char* why : {"no_driver", "no_library"}) {
      CAPTURE(version, why);
      const std::string file = fmt::format("nvidia_smi_{}_{}.csv", version, why);
      FakeTools tools;
      tools.Answer("nvidia-smi", Recorded(file));
      CHECK(absl::IsFailedPrecondition(NvidiaProbe({tools, ""}, {}).Find({}).status()));
      // The complaint is on the standard output.
      CHECK(ParseNvidiaSmi(FakeTools::Fixture("recorded/" + file)).empty());
    }
  }
}

constexpr std::array kTtVersions = {"3.0.27", "4.2.0", "5.3.1", "6.8.0"};

TEST_CASE("Tenstorrent: every tt-smi tells the same cards") {
  for (const std::string version : kTtVersions) {
    CAPTURE(version);
    const auto parse = [&](const std::string& boards) {
      return ParseTtSmi(*Recorded(fmt::format("tt_smi_{}_{}.json", version, boards))).value();
    };
    const auto wormhole = parse("n150_n300");
    REQUIRE(wormhole.size() == 2);
    CHECK(wormhole[0].name() == "n150");
    CHECK(wormhole[0].memory_bytes() == 12 * kGibibyte);
    CHECK(wormhole[0].pci_address() == "0000:21:00.0");
    CHECK(wormhole[0].uuid() == "0100018011902010");
    CHECK(wormhole[1].name() == "n300");
    CHECK(wormhole[1].memory_bytes() == 24 * kGibibyte);
    CHECK(wormhole[1].pci_address() == "0000:41:00.0");
    CHECK(wormhole[1].resource_id() == "1");

    const auto blackhole = parse("two_p150");
    REQUIRE(blackhole.size() == 2);
    CHECK(blackhole[0].name() == "p150");
    CHECK(blackhole[0].uuid() == "0100040031924001");
    CHECK(blackhole[1].memory_bytes() == 32 * kGibibyte);
    CHECK(blackhole[1].pci_address() == "0000:81:00.0");

    // Version 3 does not know the board. Its chips are devices of their own all the same.
    const auto pair = parse("p300");
    REQUIRE(pair.size() == 2);
    CHECK(pair[1].pci_address() == "0000:06:00.0");
    CHECK(pair[1].resource_id() == "1");
    CHECK(pair[1].name() == (version == "3.0.27" ? "" : "p300"));
  }
}

void WriteTtCard(const std::string& root, int number, const char* type, const char* address) {
  const fs::path dir = fmt::format("{}/sys/class/tenstorrent/tenstorrent!{}", root, number);
  const std::string device = fmt::format("{}/sys/devices/pci0000:00/{}", root, address);
  Write(fmt::format("{}/dev/tenstorrent/{}", root, number), "");
  Write(dir / "tt_card_type", fmt::format("{}\n", type));
  fs::create_directories(device);
  fs::create_symlink(device, dir / "device");
}

TEST_CASE("Tenstorrent: the driver numbers the chips and names what the tool does not know") {
  for (const std::string version : kTtVersions) {
    CAPTURE(version);
    const testing::TempDir root;
    WriteTtCard(root.path(), 0, "p300c", "0000:06:00.0");
    WriteTtCard(root.path(), 1, "p300c", "0000:05:00.0");
    FakeTools tools;
    tools.Answer("tt-smi -s", Recorded(fmt::format("tt_smi_{}_p300.json", version)));
    const DeviceList found = Found(TenstorrentProbe({tools, root.path()}));
    REQUIRE(found.gpus.size() == 2);
    CHECK(found.gpus[0].pci_address() == "0000:05:00.0");
    CHECK(found.gpus[0].resource_id() == "1");
    CHECK(found.gpus[0].name() == "p300");
    CHECK(found.gpus[1].resource_id() == "0");
    CHECK(found.gpus[1].memory_bytes() == 32 * kGibibyte);
  }
}

TEST_CASE("Tenstorrent: a tt-smi that finds nothing leaves it to the driver") {
  for (const std::string version : kTtVersions) {
    for (const std::string why : {"no_driver", "no_device"}) {
      CAPTURE(version, why);
      const std::string file = fmt::format("tt_smi_{}_{}.json", version, why);
      CHECK(ParseTtSmi(FakeTools::Fixture("recorded/" + file)).status().code() ==
            absl::StatusCode::kInvalidArgument);
      const testing::TempDir root;
      WriteTtCard(root.path(), 0, "n150", "0000:01:00.0");
      FakeTools tools;
      tools.Answer("tt-smi -s", Recorded(file));
      const DeviceList found = Found(TenstorrentProbe({tools, root.path()}));
      REQUIRE(found.gpus.size() == 1);
      CHECK(found.gpus[0].name() == "n150");
    }
  }
}

// Programs with the names of the makers' tools, first in the PATH.
class ReplayedTools {
 public:
  ReplayedTools() {
    if (const char* path = getenv("PATH")) path_ = path;
    ::setenv("PATH", (dir_.path() + ":" + path_).c_str(), 1);
  }
  ~ReplayedTools() { ::setenv("PATH", path_.c_str(), 1); }
  ReplayedTools(const ReplayedTools&) = delete;
  ReplayedTools& operator=(const ReplayedTools&) = delete;

  // Prints a recording, or its beginning, and goes on with `then`.
  void Install(const std::string& tool,
               const std::string& recording,
               const std::string& then,
               std::size_t bytes = std::string::npos) {
    Write(dir_.Path(recording), FakeTools::Fixture("recorded/" + recording).substr(0, bytes));
    const std::string script = fmt::format("#!/bin/sh\ncat {}\n{}\n", dir_.Path(recording), then);
    REQUIRE(base::WriteFileAtomic(dir_.Path(tool), script, 0700).ok());
  }
  void Install(const std::string& tool, const std::string& recording) {
    Install(tool, recording, fmt::format("exit {}", StatusOf(recording)));
  }

 private:
  testing::TempDir dir_;
  std::string path_;
};

TEST_CASE("tools that are slow, hang in the middle of their output or fail are given up") {
  // Every source has its own name for this card, which tells who was believed.
  const RecordedHost host("rx7900_beside_igpu");
  ReplayedTools replay;
  const auto tools = HostTools(10s);
  const auto impatient = HostTools(1s);
  const auto name = [&](const DeviceTools& with) {
    const DeviceList found = Found(AmdProbe({with, host.path()}));
    CheckCards(found, "rx7900_beside_igpu");
    return found.gpus[0].name();
  };
  replay.Install("amd-smi", "amd_smi_10.1_rx7900_beside_igpu.json", "sleep 0.2");
  CHECK(name(*tools) == "Radeon RX 7900 XTX");
  replay.Install("amd-smi", "amd_smi_10.1_rx7900_beside_igpu.json", "sleep 60", 900);
  replay.Install("rocm-smi", "rocm_smi_6.1.2_rx7900_beside_igpu.json");
  CHECK(name(*impatient) == "Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M");
  replay.Install("rocm-smi", "rocm_smi_6.1.2_rx7900_beside_igpu.json", "sleep 60", 100);
  CHECK(name(*impatient) == "0x744c");
  replay.Install("amd-smi", "amd_smi_6.1.2_no_driver.json");
  replay.Install("rocm-smi", "rocm_smi_5.2.3_rx7900_beside_igpu.json");
  CHECK(name(*tools) == "0x744c");

  replay.Install("tt-smi", "tt_smi_6.8.0_n150_n300.json", "sleep 60", 5000);
  CHECK(Found(TenstorrentProbe({*impatient, host.path()})).gpus.empty());
  replay.Install("nvidia-smi", "nvidia_smi_550.163.01_no_driver.csv");
  CHECK(absl::IsFailedPrecondition(NvidiaProbe({*tools, ""}, {}).Find({}).status()));
  replay.Install("nvidia-smi", "nvidia_smi_550.163.01_no_driver.csv", "sleep 60");
  CHECK(absl::IsDeadlineExceeded(NvidiaProbe({*impatient, ""}, {}).Find({}).status()));
}

using Parser = std::function<absl::StatusOr<std::vector<Gpu>>(std::string_view)>;

Parser ParserOf(const std::string& name) {
  if (name.starts_with("amd_smi")) return ParseAmdSmi;
  if (name.starts_with("rocm_smi")) return ParseRocmSmi;
  if (name.starts_with("tt_smi")) return ParseTtSmi;
  if (name.starts_with("hl_smi")) return ParseHlSmi;
  REQUIRE(name.starts_with("nvidia_smi"));
  // Divided cards are those that were recorded together with their slices.
  constexpr const char* kCards = "nvidia_smi_470_mig.csv";
  constexpr const char* kSlices = "nvidia_smi_470_list.txt";
  if (name == kSlices) {
    return [cards = ParseNvidiaSmi(FakeTools::Fixture(kCards))](std::string_view listing) {
      return ReplaceBySlices(cards, ParseSmiSlices(listing));
    };
  }
  return [slices = ParseSmiSlices(FakeTools::Fixture(kSlices))](std::string_view csv) {
    return ReplaceBySlices(ParseNvidiaSmi(csv), slices);
  };
}

// All outputs that hold cards, by name relative to the fixtures.
std::vector<std::string> Outputs() {
  std::vector<std::string> names;
  for (const char* dir : {"", "recorded/"}) {
    for (const auto& entry : fs::directory_iterator(FixtureDir() + "/" + dir)) {
      const std::string extension = entry.path().extension();
      if (extension != ".json" && extension != ".csv" && extension != ".txt") continue;
      names.push_back(dir + entry.path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Every seventh byte; of long outputs so many places.
std::size_t StrideOf(const std::string& text, std::size_t places) {
  return std::max<std::size_t>(7, text.size() / places);
}

// Cards of the whole output. Where two chips make one card, damage may part them.
std::size_t MostCards(const Parser& parse, const std::string& whole) {
  std::size_t chips = 0;
  for (std::size_t at = whole.find("board_info"); at != whole.npos; ++chips) {
    at = whole.find("board_info", at + 1);
  }
  return std::max(chips, parse(whole).value_or(std::vector<Gpu>()).size());
}

bool IsPrintable(const std::string& text) {
  return std::all_of(
      text.begin(), text.end(), [](unsigned char c) { return absl::ascii_isprint(c); });
}

TEST_CASE("outputs that are cut off tell the first cards or are an error") {
  for (const std::string& name : Outputs()) {
    const Parser parse = ParserOf(fs::path(name).filename());
    const std::string whole = FakeTools::Fixture(name);
    const std::vector<Gpu> all = parse(whole).value_or(std::vector<Gpu>());
    for (std::size_t size = 0; size < whole.size(); size += StrideOf(whole, 300)) {
      CAPTURE(name, size);
      const auto some = parse(whole.substr(0, size));
      if (!some.ok()) continue;
      REQUIRE(some->size() <= all.size());
      for (std::size_t i = 0; i < some->size(); ++i) {
        REQUIRE((*some)[i].SerializeAsString() == all[i].SerializeAsString());
      }
    }
  }
}

TEST_CASE("outputs with a damaged byte tell no more cards and no bytes that are no text") {
  for (const std::string& name : Outputs()) {
    const Parser parse = ParserOf(fs::path(name).filename());
    const std::string whole = FakeTools::Fixture(name);
    const std::size_t count = MostCards(parse, whole);
    for (std::size_t at = 0; at < whole.size(); at += StrideOf(whole, 60)) {
      for (const char damage : {'\xff', '\0', '"', '}', ',', '\n', '9'}) {
        CAPTURE(name, at, static_cast<int>(damage));
        std::string damaged = whole;
        damaged[at] = damage;
        const auto gpus = parse(damaged);
        if (!gpus.ok()) continue;
        REQUIRE(gpus->size() <= count);
        for (const Gpu& gpu : *gpus) {
          REQUIRE(IsPrintable(gpu.name() + gpu.uuid() + gpu.resource_id() + gpu.driver_version() +
                              gpu.pci_address()));
          REQUIRE(gpu.pci_address() == PciAddress(gpu.pci_address()));
        }
      }
    }
  }
}

}  // namespace
}  // namespace dstack::shim
