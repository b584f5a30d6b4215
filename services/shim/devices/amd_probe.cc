#include "services/shim/devices/amd_probe.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"
#include "services/shim/devices/gpu_text.h"

namespace dstack::shim {
namespace {

using common::v1::Gpu;
using nlohmann::json;
namespace fs = std::filesystem;

constexpr char kAmdVendorId[] = "0x1002";
// Of the kernel's list of link types.
constexpr char kXgmiLinkType[] = "11";
constexpr std::uint64_t kSmallestCard = 4 * kGibibyte;

// Cards whose name the kernel does not tell, by PCI device id.
constexpr std::array<std::pair<std::string_view, std::string_view>, 14> kModels = {{
    {"0x738c", "MI100"},
    {"0x738e", "MI100"},
    {"0x7408", "MI250X"},
    {"0x740c", "MI250X"},
    {"0x740f", "MI210"},
    {"0x7410", "MI210"},
    {"0x74a0", "MI300A"},
    {"0x74a1", "MI300X"},
    {"0x74a2", "MI308X"},
    {"0x74a5", "MI325X"},
    {"0x74a9", "MI300X"},
    {"0x74b5", "MI300X"},
    {"0x75a0", "MI350X"},
    {"0x75a3", "MI355X"},
}};

std::string Lower(std::string_view text) { return absl::AsciiStrToLower(base::ToAbsl(text)); }

// The member of this name in any case, or null.
const json* Member(const json& object, std::string_view name) {
  if (!object.is_object()) return nullptr;
  for (const auto& [key, value] : object.items()) {
    if (Lower(key) == name) return &value;
  }
  return nullptr;
}

std::string TextOf(const json* value) {
  return value != nullptr && value->is_string() ? KnownText(value->get_ref<const std::string&>())
                                                : "";
}

std::string DriverOf(const json* driver) {
  if (driver == nullptr) return "";
  const std::string version = TextOf(Member(*driver, "version"));
  return version.empty() ? TextOf(Member(*driver, "driver_version")) : version;
}

// {"value": 196592, "unit": "MB"}, where "MB" means MiB.
std::uint64_t AmountBytes(const json* amount) {
  if (amount == nullptr) return 0;
  const json* value = Member(*amount, "value");
  const std::string unit = Lower(TextOf(Member(*amount, "unit")));
  std::uint64_t number = 0;
  if (value != nullptr && value->is_number_unsigned()) number = value->get<std::uint64_t>();
  if (value != nullptr && value->is_string()) number = LeadingNumber(TextOf(value));
  if (unit == "b") return number;
  return number * (unit == "gb" ? kGibibyte : kMebibyte);
}

// Without the code name that lists of PCI devices put in front, "Aldebaran/MI200 [Instinct MI210]",
// of which amd-smi 6 cuts off the end. Empty for the number of the model, which stands in for the
// name where a tool has no names.
std::string ModelTold(const json* value) {
  const std::string text = TextOf(value);
  std::string_view name = text;
  if (name.starts_with("0x")) return "";
  if (const std::size_t open = name.find('['); open != name.npos) name.remove_prefix(open + 1);
  return ShortAmdName(name.substr(0, name.find(']')));
}

// The 16 digits of the kernel, whichever way a tool writes the number; empty for 0, which some
// versions print for cards without one.
std::string SerialOf(const std::string& text) {
  std::uint64_t number = 0;
  if (!absl::SimpleHexAtoi(text, &number)) return text;
  return number == 0 ? "" : fmt::format("{:016x}", number);
}

Gpu FromAmdSmi(const json& card) {
  Gpu gpu;
  gpu.set_vendor(common::v1::GPU_VENDOR_AMD);
  if (const json* asic = Member(card, "asic")) {
    gpu.set_name(ModelTold(Member(*asic, "market_name")));
    gpu.set_uuid(SerialOf(TextOf(Member(*asic, "asic_serial"))));
  }
  if (const json* vram = Member(card, "vram")) {
    const json* size = Member(*vram, "size");
    gpu.set_memory_bytes(AmountBytes(size != nullptr ? size : Member(*vram, "vram_size")));
  }
  if (const json* bus = Member(card, "bus"))
    gpu.set_pci_address(PciAddress(TextOf(Member(*bus, "bdf"))));
  gpu.set_driver_version(DriverOf(Member(card, "driver")));
  return gpu;
}

Gpu FromRocmSmi(const json& card) {
  Gpu gpu;
  gpu.set_vendor(common::v1::GPU_VENDOR_AMD);
  gpu.set_name(ModelTold(Member(card, "card series")));
  if (gpu.name().empty()) gpu.set_name(ModelTold(Member(card, "card model")));
  gpu.set_memory_bytes(LeadingNumber(TextOf(Member(card, "vram total memory (b)"))));
  gpu.set_pci_address(PciAddress(TextOf(Member(card, "pci bus"))));
  gpu.set_uuid(SerialOf(TextOf(Member(card, "unique id"))));
  return gpu;
}

std::string Line(const std::string& path) { return KnownText(base::ReadFile(path).value_or("")); }

std::string ModelName(const std::string& device_dir) {
  if (const std::string name = Line(device_dir + "/product_name"); !name.empty()) {
    return ShortAmdName(name);
  }
  std::string id = Lower(Line(device_dir + "/device"));
  for (const auto& [known, model] : kModels) {
    if (id == known) return std::string(model);
  }
  return id;
}

std::vector<std::string> Entries(const std::string& dir) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(dir, error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    names.push_back(it->path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// "name value" lines.
std::map<std::string, std::string> Properties(const std::string& path) {
  std::map<std::string, std::string> values;
  const std::string text = base::ReadFile(path).value_or("");
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    values[pair.first] = pair.second;
  }
  return values;
}

// PCI address of a node of the kernel's compute topology: bus, device and function are packed.
std::string AddressOfNode(const std::map<std::string, std::string>& properties) {
  std::uint32_t location = 0;
  std::uint32_t domain = 0;
  const auto place = properties.find("location_id");
  if (place == properties.end() || !absl::SimpleAtoi(place->second, &location)) return "";
  if (const auto it = properties.find("domain"); it != properties.end()) {
    if (!absl::SimpleAtoi(it->second, &domain)) return "";
  }
  return fmt::format("{:04x}:{:02x}:{:02x}.{:x}",
                     domain,
                     location >> 8 & 0xff,
                     location >> 3 & 0x1f,
                     location & 7);
}

}  // namespace

std::optional<v1::GpuMetrics> SampleAmd(const std::string& root, const Gpu& gpu) {
  if (gpu.vendor() != common::v1::GPU_VENDOR_AMD || gpu.pci_address().empty()) return std::nullopt;
  const std::string dir = root + "/sys/bus/pci/devices/" + gpu.pci_address();
  if (!base::Exists(dir + "/gpu_busy_percent")) return std::nullopt;
  v1::GpuMetrics sample;
  sample.set_resource_id(gpu.resource_id());
  sample.set_usage_ratio(static_cast<double>(LeadingNumber(Line(dir + "/gpu_busy_percent"))) / 100);
  sample.set_memory_used_bytes(LeadingNumber(Line(dir + "/mem_info_vram_used")));
  return sample;
}

std::string AmdDriverVersion(std::string_view text) {
  const json driver = json::parse(text, nullptr, /*allow_exceptions=*/false);
  return DriverOf(&driver);
}

absl::StatusOr<std::vector<Gpu>> ParseAmdSmi(std::string_view text) {
  const json body = json::parse(text, nullptr, /*allow_exceptions=*/false);
  const json* cards = body.is_array() ? &body : Member(body, "gpu_data");
  if (cards == nullptr || !cards->is_array()) return base::Invalid("amd-smi: no list of cards");
  std::vector<Gpu> gpus;
  for (const json& card : *cards) {
    if (card.is_object()) gpus.push_back(FromAmdSmi(card));
  }
  return gpus;
}

absl::StatusOr<std::vector<Gpu>> ParseRocmSmi(std::string_view text) {
  // Some versions print warnings in front.
  const std::size_t begin = text.find('{');
  const json body = json::parse(
      begin == text.npos ? "" : text.substr(begin), nullptr, /*allow_exceptions=*/false);
  if (!body.is_object()) return base::Invalid("rocm-smi: no JSON object");
  std::string driver;
  if (const json* system = Member(body, "system"))
    driver = TextOf(Member(*system, "driver version"));
  std::vector<std::pair<std::uint64_t, Gpu>> cards;
  for (const auto& [key, card] : body.items()) {
    if (!key.starts_with("card") || !card.is_object()) continue;
    Gpu gpu = FromRocmSmi(card);
    gpu.set_driver_version(driver);
    cards.emplace_back(LeadingNumber(std::string_view(key).substr(4)), std::move(gpu));
  }
  // "card10" comes after "card9".
  std::sort(
      cards.begin(), cards.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Gpu> gpus;
  for (auto& [number, gpu] : cards) gpus.push_back(std::move(gpu));
  return gpus;
}

bool AmdProbe::IsPresent() const { return base::Exists(context_.Path("/dev/kfd")); }

absl::StatusOr<DeviceList> AmdProbe::Find(const std::stop_token& stop) {
  auto asked = AskTools(stop);
  if (absl::IsCancelled(asked.status())) return asked.status();
  std::vector<Gpu> found;
  if (asked.ok()) {
    found = *std::move(asked);
  } else {
    telemetry::Debug("AMD's tools do not answer; asking the kernel", {{"status", asked.status()}});
    found = AskKernel();
  }
  DeviceList list;
  for (Gpu& gpu : found) {
    if (gpu.resource_id().empty()) gpu.set_resource_id(RenderNodeOf(gpu.pci_address()));
    if (gpu.resource_id().empty()) {
      telemetry::Warn("a card has no render node and cannot be used",
                      {{"name", gpu.name()}, {"pci_address", gpu.pci_address()}});
      continue;
    }
    if (gpu.memory_bytes() > 0 && gpu.memory_bytes() < kSmallestCard) {
      telemetry::Info("graphics of the processor are not offered", {{"name", gpu.name()}});
      continue;
    }
    // Tools without a list of names tell none.
    if (gpu.name().empty()) {
      gpu.set_name(ModelName(context_.Path("/sys/bus/pci/devices/" + gpu.pci_address())));
    }
    list.gpus.push_back(std::move(gpu));
  }
  list.links = DirectLinks(list.gpus);
  return list;
}

absl::StatusOr<std::vector<Gpu>> AmdProbe::AskTools(const std::stop_token& stop) const {
  std::vector<std::string> argv = {"amd-smi", "static", "--json", "--asic", "--vram", "--bus"};
  std::vector<std::string> with_driver = argv;
  with_driver.emplace_back("--driver");
  auto output = context_.tools.Run(with_driver, stop);
  // Some versions fail as a whole when the driver's version cannot be read.
  if (absl::IsFailedPrecondition(output.status())) output = context_.tools.Run(argv, stop);
  if (output.ok()) {
    // Where it may not open the cards, version 6 tells addresses that are none.
    if (auto gpus = ParseAmdSmi(*output); gpus.ok() && (gpus->empty() || HasAny(*gpus)))
      return gpus;
  }
  if (absl::IsCancelled(output.status())) return output.status();
  argv = {"rocm-smi", "--showproductname", "--showmeminfo", "vram", "--showbus"};
  argv.insert(argv.end(), {"--showdriverversion", "--json"});
  std::vector<std::string> with_id = argv;
  with_id.emplace_back("--showuniqueid");
  output = context_.tools.Run(with_id, stop);
  // Version 5 fails when one card, such as graphics of the processor, has no unique id.
  if (absl::IsFailedPrecondition(output.status())) output = context_.tools.Run(argv, stop);
  if (!output.ok()) return output.status();
  return ParseRocmSmi(*output);
}

std::vector<Gpu> AmdProbe::AskKernel() const {
  std::vector<Gpu> gpus;
  const std::string drm = context_.Path("/sys/class/drm");
  for (const std::string& name : Entries(drm)) {
    if (!name.starts_with("renderD")) continue;
    const std::string device = drm + "/" + name + "/device";
    if (Lower(Line(device + "/vendor")) != kAmdVendorId) continue;
    Gpu gpu;
    gpu.set_vendor(common::v1::GPU_VENDOR_AMD);
    gpu.set_resource_id("/dev/dri/" + name);
    gpu.set_name(ModelName(device));
    gpu.set_memory_bytes(LeadingNumber(Line(device + "/mem_info_vram_total")));
    gpu.set_uuid(SerialOf(Line(device + "/unique_id")));
    gpu.set_driver_version(Line(context_.Path("/sys/module/amdgpu/version")));
    std::error_code error;
    gpu.set_pci_address(PciAddress(fs::canonical(device, error).filename().string()));
    gpus.push_back(std::move(gpu));
  }
  return gpus;
}

std::string AmdProbe::RenderNodeOf(const std::string& pci_address) const {
  if (pci_address.empty()) return "";
  std::error_code error;
  const fs::path link =
      fs::read_symlink(context_.Path("/dev/dri/by-path/pci-" + pci_address + "-render"), error);
  if (!error) return "/dev/dri/" + link.filename().string();
  for (const std::string& name :
       Entries(context_.Path("/sys/bus/pci/devices/" + pci_address + "/drm"))) {
    if (name.starts_with("renderD")) return "/dev/dri/" + name;
  }
  return "";
}

bool AmdProbe::HasAny(const std::vector<Gpu>& gpus) const {
  return std::any_of(gpus.begin(), gpus.end(), [this](const Gpu& gpu) {
    return !RenderNodeOf(gpu.pci_address()).empty();
  });
}

std::vector<v1::GpuLink> AmdProbe::DirectLinks(const std::vector<Gpu>& gpus) const {
  const std::string nodes = context_.Path("/sys/class/kfd/kfd/topology/nodes");
  std::map<std::string, std::string> ids;  // resource_id by number of the node
  for (const std::string& node : Entries(nodes)) {
    const std::string address = AddressOfNode(Properties(nodes + "/" + node + "/properties"));
    for (const Gpu& gpu : gpus) {
      if (!address.empty() && gpu.pci_address() == address) ids[node] = gpu.resource_id();
    }
  }
  std::vector<v1::GpuLink> links;
  std::set<std::pair<std::string, std::string>> seen;
  for (const auto& [node, id] : ids) {
    const std::string dir = nodes + "/" + node + "/io_links";
    for (const std::string& entry : Entries(dir)) {
      auto properties = Properties(dir + "/" + entry + "/properties");
      const auto peer = ids.find(properties["node_to"]);
      if (properties["type"] != kXgmiLinkType || peer == ids.end()) continue;
      if (!seen.insert(std::minmax(id, peer->second)).second) continue;
      v1::GpuLink& link = links.emplace_back();
      link.set_first(id);
      link.set_second(peer->second);
      link.set_kind(v1::GPU_LINK_KIND_DIRECT);
    }
  }
  return links;
}

}  // namespace dstack::shim
