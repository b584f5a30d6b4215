#include "services/shim/devices/nvidia_smi.h"

#include <utility>

#include <absl/strings/match.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "services/shim/devices/gpu_text.h"

namespace dstack::shim {
namespace {

constexpr std::size_t kFields = 5;
constexpr char kBasicQuery[] = "--query-gpu=name,memory.total,uuid,driver_version,pci.bus_id";
constexpr char kFormat[] = "--format=csv,noheader,nounits";

// Between `before` and the next `after`; empty when it is not there.
std::string Between(std::string_view text, std::string_view before, std::string_view after) {
  const std::size_t begin = text.find(before);
  if (begin == text.npos) return "";
  const std::string_view rest = text.substr(begin + before.size());
  const std::size_t end = rest.find(after);
  return end == rest.npos ? "" : KnownText(rest.substr(0, end));
}

// 20 of "3g.20gb" or "1g.10gb+me".
std::uint64_t ProfileGibibytes(std::string_view profile) {
  const std::size_t dot = profile.find('.');
  return dot == profile.npos ? 0 : LeadingNumber(profile.substr(dot + 1));
}

common::v1::Gpu MakeSlice(const common::v1::Gpu& card, const SmiSlice& slice) {
  common::v1::Gpu gpu = card;
  gpu.set_resource_id(slice.uuid);
  gpu.set_uuid(slice.uuid);
  gpu.set_parent_uuid(card.uuid());
  gpu.set_name(card.name() + " MIG " + slice.profile);
  gpu.set_memory_bytes(ProfileGibibytes(slice.profile) * kGibibyte);
  return gpu;
}

absl::StatusOr<std::string> Query(const DeviceTools& tools, const std::stop_token& stop) {
  // Tools older than the first divisible card refuse the field.
  auto output =
      tools.Run({"nvidia-smi", std::string(kBasicQuery) + ",mig.mode.current", kFormat}, stop);
  if (!absl::IsFailedPrecondition(output.status())) return output;
  return tools.Run({"nvidia-smi", kBasicQuery, kFormat}, stop);
}

}  // namespace

std::vector<SmiCard> ParseNvidiaSmi(std::string_view csv) {
  std::vector<SmiCard> cards;
  for (const absl::string_view line :
       absl::StrSplit(base::ToAbsl(WholeLines(csv)), '\n', absl::SkipWhitespace())) {
    std::vector<std::string> fields = absl::StrSplit(line, ',');
    if (fields.size() != kFields && fields.size() != kFields + 1) break;
    for (std::string& field : fields) field = KnownText(field);
    if (fields[2].empty()) break;
    SmiCard card;
    card.gpu.set_vendor(common::v1::GPU_VENDOR_NVIDIA);
    card.gpu.set_name(ShortNvidiaName(fields[0]));
    card.gpu.set_memory_bytes(LeadingNumber(fields[1]) * kMebibyte);
    card.gpu.set_resource_id(fields[2]);
    card.gpu.set_uuid(fields[2]);
    card.gpu.set_driver_version(fields[3]);
    card.gpu.set_pci_address(PciAddress(fields[4]));
    card.is_partitioned =
        fields.size() > kFields && absl::EqualsIgnoreCase(fields[kFields], "enabled");
    cards.push_back(std::move(card));
  }
  return cards;
}

std::map<std::string, std::vector<SmiSlice>> ParseSmiSlices(std::string_view listing) {
  std::map<std::string, std::vector<SmiSlice>> slices;
  std::string card;
  for (const absl::string_view raw : absl::StrSplit(base::ToAbsl(listing), '\n')) {
    const std::string_view line = base::ToStd(absl::StripAsciiWhitespace(raw));
    const std::string uuid = Between(line, "(UUID: ", ")");
    if (uuid.empty()) continue;
    if (line.starts_with("GPU ")) card = uuid;
    if (!line.starts_with("MIG ") || card.empty()) continue;
    const std::string_view rest =
        base::ToStd(absl::StripAsciiWhitespace(base::ToAbsl(line.substr(4))));
    slices[card].push_back({KnownText(rest.substr(0, rest.find(' '))), uuid});
  }
  return slices;
}

std::vector<common::v1::Gpu> ReplaceBySlices(
    const std::vector<SmiCard>& cards, const std::map<std::string, std::vector<SmiSlice>>& slices) {
  std::vector<common::v1::Gpu> gpus;
  for (const SmiCard& card : cards) {
    if (!card.is_partitioned) {
      gpus.push_back(card.gpu);
      continue;
    }
    const auto found = slices.find(card.gpu.uuid());
    if (found == slices.end()) continue;
    for (const SmiSlice& slice : found->second) gpus.push_back(MakeSlice(card.gpu, slice));
  }
  return gpus;
}

absl::StatusOr<DeviceList> AskNvidiaSmi(const DeviceTools& tools, const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const std::string csv, Query(tools, stop));
  const std::vector<SmiCard> cards = ParseNvidiaSmi(csv);
  std::map<std::string, std::vector<SmiSlice>> slices;
  for (const SmiCard& card : cards) {
    if (!card.is_partitioned) continue;
    ASSIGN_OR_RETURN(const std::string listing, tools.Run({"nvidia-smi", "-L"}, stop));
    slices = ParseSmiSlices(listing);
    break;
  }
  return DeviceList{.gpus = ReplaceBySlices(cards, slices)};
}

}  // namespace dstack::shim
