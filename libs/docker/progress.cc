#include "libs/docker/progress.h"

#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

namespace dstack::docker {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxLineBytes = std::size_t{1} << 20;

std::string StringField(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

// Negative numbers and fractions occur (-1 for an unknown size): they count as absent.
std::uint64_t ByteField(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number_unsigned() ? it->get<std::uint64_t>() : 0;
}

bool IsLayerStatus(std::string_view status) {
  // The header line ("Pulling from library/x") carries the tag as its id, so that a layer counts
  // only once one of these words was seen.
  static constexpr std::array<std::string_view, 8> kKnown = {"Pulling fs layer",
                                                             "Waiting",
                                                             "Verifying Checksum",
                                                             "Already exists",
                                                             "Downloading",
                                                             "Download complete",
                                                             "Extracting",
                                                             "Pull complete"};
  for (const std::string_view known : kKnown) {
    if (status == known) return true;
  }
  return false;
}

}  // namespace

std::optional<PullEvent> ParsePullEvent(std::string_view line) {
  const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return std::nullopt;
  PullEvent event;
  event.status = StringField(object, "status");
  event.id = StringField(object, "id");
  if (const auto detail = object.find("progressDetail");
      detail != object.end() && detail->is_object()) {
    event.current = ByteField(*detail, "current");
    event.total = ByteField(*detail, "total");
    event.units = StringField(*detail, "units");
  }
  if (const auto detail = object.find("errorDetail");
      detail != object.end() && detail->is_object()) {
    event.error = StringField(*detail, "message");
  }
  if (event.error.empty()) event.error = StringField(object, "error");
  return event;
}

void LineSplitter::Append(std::string_view data) {
  while (true) {
    const std::size_t newline = data.find('\n');
    const std::string_view piece = data.substr(0, newline);
    if (line_.size() + piece.size() > kMaxLineBytes) is_dropping_ = true;
    if (!is_dropping_) line_.append(piece);
    if (newline == data.npos) return;
    Emit();
    data.remove_prefix(newline + 1);
  }
}

void LineSplitter::Finish() { Emit(); }

void LineSplitter::Emit() {
  if (!is_dropping_ && !line_.empty()) on_line_(line_);
  line_.clear();
  is_dropping_ = false;
}

void PullTracker::Add(const PullEvent& event) {
  if (!event.error.empty()) errors_.push_back(event.error);
  if (event.status.starts_with("Status:")) is_complete_ = true;
  if (!event.id.empty() && IsLayerStatus(event.status)) AddToLayer(event);
}

void PullTracker::AddToLayer(const PullEvent& event) {
  Layer& layer = layers_[event.id];
  if (layer.status != event.status || layer.current != event.current) ++moves_;
  layer.status = event.status;
  layer.current = event.current;
  const bool is_bytes = event.units.empty() || event.units == "bytes";
  if (event.status == "Already exists") {
    layer.is_settled = true;
  } else if (event.status == "Downloading" && is_bytes) {
    layer.downloaded = event.current;
    layer.total = event.total;
    layer.is_size_known = event.total > 0;
  } else if (event.status == "Download complete") {
    layer.downloaded = layer.total;
  } else if (event.status == "Extracting" && is_bytes) {
    layer.extracted = event.current;
    layer.downloaded = event.total;
    layer.total = event.total;
    layer.is_size_known = event.total > 0;
  } else if (event.status == "Pull complete") {
    layer.downloaded = layer.total;
    layer.extracted = layer.total;
    layer.is_settled = true;
  }
}

std::uint32_t PullTracker::layers_done() const {
  return static_cast<std::uint32_t>(std::count_if(
      layers_.begin(), layers_.end(), [](const auto& entry) { return entry.second.is_settled; }));
}

std::optional<PullTotals> PullTracker::totals() const {
  if (layers_.empty()) return std::nullopt;
  PullTotals totals{.is_total_final = true};
  for (const auto& [id, layer] : layers_) {
    totals.downloaded_bytes += layer.downloaded;
    totals.extracted_bytes += layer.extracted;
    totals.total_bytes += layer.total;
    if (!layer.is_size_known && !layer.is_settled) totals.is_total_final = false;
  }
  return totals;
}

}  // namespace dstack::docker
