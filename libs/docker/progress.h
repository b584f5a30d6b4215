#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dstack::docker {

// One line of the engine's progress stream of a pull.
struct PullEvent {
  std::string status;
  std::string id;  // layer; empty for lines about the whole pull
  std::uint64_t current = 0;
  std::uint64_t total = 0;
  std::string units;  // "" or "bytes" for bytes; newer engines report extraction in seconds ("s")
  std::string error;  // errorDetail.message
};

// Parses one line. Nothing for what is not a JSON object: the stream is the engine's, and a line
// that we do not understand is no reason to fail a pull.
std::optional<PullEvent> ParsePullEvent(std::string_view line);

// Cuts a stream of bytes into lines. A line above 1 MiB is dropped whole.
class LineSplitter {
 public:
  explicit LineSplitter(std::function<void(std::string_view)> on_line)
      : on_line_(std::move(on_line)) {}

  void Append(std::string_view data);
  // Delivers what is left without a newline.
  void Finish();

 private:
  void Emit();

  std::function<void(std::string_view)> on_line_;
  std::string line_;
  bool is_dropping_ = false;
};

// Bytes of a pull, summed over its layers.
struct PullTotals {
  std::uint64_t downloaded_bytes = 0;
  std::uint64_t extracted_bytes = 0;
  std::uint64_t total_bytes = 0;
  bool is_total_final = false;

  bool operator==(const PullTotals&) const = default;
};

// Adds up a pull's events. Not thread-safe.
class PullTracker {
 public:
  void Add(const PullEvent& event);

  // Nothing before the first layer is known.
  std::optional<PullTotals> totals() const;
  std::uint32_t layers_total() const { return static_cast<std::uint32_t>(layers_.size()); }
  // Complete, or there from the beginning.
  std::uint32_t layers_done() const;
  // Counts the events that brought the pull forward. While it stands still the pull does.
  std::uint64_t moves() const { return moves_; }
  // A line that begins with "Status:" has come: the image is complete.
  bool is_complete() const { return is_complete_; }
  // Messages of the errors, in order.
  const std::vector<std::string>& errors() const { return errors_; }

 private:
  struct Layer {
    std::uint64_t downloaded = 0;
    std::uint64_t extracted = 0;
    std::uint64_t total = 0;
    bool is_size_known = false;
    bool is_settled = false;  // nothing to fetch, or done
    // As told last: a change of any of them is a move.
    std::string status;
    std::uint64_t current = 0;
  };

  void AddToLayer(const PullEvent& event);

  std::map<std::string, Layer> layers_;
  std::vector<std::string> errors_;
  bool is_complete_ = false;
  std::uint64_t moves_ = 0;
};

}  // namespace dstack::docker
