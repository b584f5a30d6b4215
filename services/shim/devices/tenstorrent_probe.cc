#include "services/shim/devices/tenstorrent_probe.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include <absl/strings/match.h>
#include <absl/strings/strip.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"
#include "services/shim/devices/gpu_text.h"

namespace dstack::shim {
namespace {

using common::v1::Gpu;
using nlohmann::json;

// One chip as the tool lists it.
struct Chip {
  std::string model;
  std::string board_id;
  std::string bus_id;
  char side = 0;  // 'L' or 'R' of boards with two chips, else 0
};

std::string TextOf(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? KnownText(it->get_ref<const std::string&>()) : "";
}

std::string ModelOf(std::string_view board_type) {
  if (board_type == "bh-scrappy" || board_type == "p100") return "p100a";
  if (board_type.starts_with("p150")) return "p150";
  if (board_type.starts_with("p300")) return "p300";
  return std::string(board_type);
}

std::uint64_t ChipGibibytes(std::string_view model) {
  for (const std::string_view wormhole : {"n150", "n300", "tt-galaxy-wh"}) {
    if (model.starts_with(wormhole)) return 12;
  }
  if (model.starts_with("p100a")) return 28;
  for (const std::string_view blackhole : {"p150", "p300", "tt-galaxy-bh"}) {
    if (model.starts_with(blackhole)) return 32;
  }
  return 0;
}

// Cards of one chip, or of two of which only the first is on the bus.
bool IsWormholeCard(std::string_view model) {
  return model.starts_with("n150") || model.starts_with("n300");
}

Chip ChipOf(const json& board) {
  Chip chip{.board_id = TextOf(board, "board_id"), .bus_id = TextOf(board, "bus_id")};
  std::string type = TextOf(board, "board_type");
  for (const char side : {'L', 'R'}) {
    const std::string suffix = {' ', side};
    if (!absl::EndsWith(type, suffix)) continue;
    chip.side = side;
    type.resize(type.size() - suffix.size());
    break;
  }
  // Boards that are newer than the tool have no type: "N/A".
  chip.model = ModelOf(KnownText(type));
  return chip;
}

// The card that this chip only adds its memory to, or null.
Gpu* CardToJoin(const Chip& chip, std::vector<Gpu>* gpus) {
  const bool is_twin = chip.side == 0 && IsWormholeCard(chip.model);
  const bool is_remote = chip.side == 0 && !is_twin && chip.bus_id.empty();
  if (chip.side != 'R' && !is_remote && !is_twin) return nullptr;
  const auto card = std::find_if(gpus->begin(), gpus->end(), [&](const Gpu& gpu) {
    return gpu.uuid() == chip.board_id && (!is_remote || gpu.name() == chip.model);
  });
  return card == gpus->end() ? nullptr : &*card;
}

}  // namespace

absl::StatusOr<std::vector<Gpu>> ParseTtSmi(std::string_view text) {
  // Versions differ in what they print around the document.
  const std::size_t begin = text.find('{');
  const std::size_t end = text.rfind('}');
  const json body =
      begin == text.npos || end == text.npos || end < begin
          ? json(json::value_t::discarded)
          : json::parse(text.substr(begin, end - begin + 1), nullptr, /*allow_exceptions=*/false);
  if (!body.is_object()) return base::Invalid("tt-smi: no JSON object");
  std::vector<Gpu> gpus;
  const auto devices = body.find("device_info");
  if (devices == body.end() || !devices->is_array()) return gpus;
  for (const json& device : *devices) {
    if (!device.is_object() || !device.contains("board_info")) continue;
    const Chip chip = ChipOf(device["board_info"]);
    const std::uint64_t bytes = ChipGibibytes(chip.model) * kGibibyte;
    if (Gpu* card = CardToJoin(chip, &gpus)) {
      card->set_memory_bytes(card->memory_bytes() + bytes);
      continue;
    }
    // A right chip whose left one is not there: nothing to address it by.
    if (chip.side == 'R') continue;
    Gpu& gpu = gpus.emplace_back();
    gpu.set_vendor(common::v1::GPU_VENDOR_TENSTORRENT);
    gpu.set_name(chip.model);
    gpu.set_memory_bytes(bytes);
    gpu.set_uuid(chip.board_id);
    gpu.set_pci_address(PciAddress(chip.bus_id));
  }
  for (std::size_t i = 0; i < gpus.size(); ++i) gpus[i].set_resource_id(std::to_string(i));
  return gpus;
}

std::string TenstorrentDriverVersion(const std::string& root) {
  return KnownText(base::ReadFile(root + "/sys/module/tenstorrent/version").value_or(""));
}

bool TenstorrentProbe::IsPresent() const { return base::Exists(context_.Path("/dev/tenstorrent")); }

absl::StatusOr<DeviceList> TenstorrentProbe::Find(const std::stop_token& stop) {
  DeviceList list;
  const auto output = context_.tools.Run({"tt-smi", "-s"}, stop);
  if (absl::IsCancelled(output.status())) return output.status();
  auto gpus = output.ok() ? ParseTtSmi(*output) : output.status();
  if (gpus.ok()) {
    list.gpus = *std::move(gpus);
    Complete(&list.gpus);
  } else {
    telemetry::Debug("tt-smi does not answer; asking the kernel", {{"status", gpus.status()}});
    list.gpus = AskKernel();
  }
  const std::string driver = TenstorrentDriverVersion(context_.root);
  for (Gpu& gpu : list.gpus) gpu.set_driver_version(driver);
  return list;
}

// With what the driver tells of the same cards: it is the driver that numbers the device files, and
// it knows boards that are newer than the tool.
void TenstorrentProbe::Complete(std::vector<Gpu>* gpus) const {
  std::map<std::string, Gpu> known;
  for (Gpu& gpu : AskKernel()) known[gpu.pci_address()] = std::move(gpu);
  const auto is_known = [&](const Gpu& gpu) {
    return !gpu.pci_address().empty() && known.contains(gpu.pci_address());
  };
  if (!std::all_of(gpus->begin(), gpus->end(), is_known)) return;
  for (Gpu& gpu : *gpus) {
    const Gpu& same = known.at(gpu.pci_address());
    gpu.set_resource_id(same.resource_id());
    if (!gpu.name().empty()) continue;
    gpu.set_name(same.name());
    gpu.set_memory_bytes(same.memory_bytes());
  }
}

// One entry of sysfs for each chip on the bus; the second chip of an n300 is not on it.
std::vector<Gpu> TenstorrentProbe::AskKernel() const {
  std::vector<Gpu> gpus;
  constexpr int kMaxCards = 64;
  for (int i = 0; i < kMaxCards; ++i) {
    if (!base::Exists(context_.Path(fmt::format("/dev/tenstorrent/{}", i)))) continue;
    const std::string dir = context_.Path(fmt::format("/sys/class/tenstorrent/tenstorrent!{}", i));
    Gpu& gpu = gpus.emplace_back();
    gpu.set_vendor(common::v1::GPU_VENDOR_TENSTORRENT);
    gpu.set_resource_id(std::to_string(i));
    gpu.set_name(ModelOf(KnownText(base::ReadFile(dir + "/tt_card_type").value_or(""))));
    gpu.set_uuid(KnownText(base::ReadFile(dir + "/tt_serial").value_or("")));
    const std::uint64_t chips = gpu.name().starts_with("n300") ? 2 : 1;
    gpu.set_memory_bytes(chips * ChipGibibytes(gpu.name()) * kGibibyte);
    std::error_code error;
    const auto device = std::filesystem::canonical(dir + "/device", error);
    if (!error) gpu.set_pci_address(PciAddress(device.filename().string()));
  }
  return gpus;
}

}  // namespace dstack::shim
