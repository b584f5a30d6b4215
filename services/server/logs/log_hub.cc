#include "services/server/logs/log_hub.h"

#include <algorithm>
#include <utility>

#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>

namespace dstack::server {
namespace {

using common::v1::LogBatch;
using common::v1::LogRecord;

// A record's data and what it costs besides.
constexpr std::size_t kRecordOverheadBytes = 64;

std::size_t BytesOf(const LogBatch& batch) {
  std::size_t bytes = 0;
  for (const LogRecord& record : batch.records())
    bytes += record.data().size() + kRecordOverheadBytes;
  return bytes;
}

std::uint64_t FirstOf(const LogBatch& batch) { return batch.records(0).sequence(); }
std::uint64_t LastOf(const LogBatch& batch) {
  return batch.records(batch.records_size() - 1).sequence();
}

struct Announcement {
  JobId job;
  int source = 0;
  std::uint64_t last_sequence = 0;
  bool is_ended = false;
};

// <job id>:<source number>:<last sequence>:<0|1>
std::optional<Announcement> Parse(const std::string& payload) {
  const std::vector<std::string> parts = absl::StrSplit(payload, ':');
  if (parts.size() != 4) return std::nullopt;
  Announcement result;
  result.job = JobId(parts[0]);
  if (!absl::SimpleAtoi(parts[1], &result.source)) return std::nullopt;
  if (!absl::SimpleAtoi(parts[2], &result.last_sequence)) return std::nullopt;
  result.is_ended = parts[3] == "1";
  return result;
}

// True when it says something new.
bool Advance(LogHub::Position& position, std::uint64_t last_sequence, bool is_ended) {
  const bool is_news = last_sequence > position.last_sequence || (is_ended && !position.is_ended);
  position.last_sequence = std::max(position.last_sequence, last_sequence);
  position.is_ended = position.is_ended || is_ended;
  return is_news;
}

}  // namespace

LogHub::LogHub(Notifications& notifications) : LogHub(notifications, Limits()) {}

LogHub::LogHub(Notifications& notifications, Limits limits) : limits_(limits) {
  log_subscription_ = notifications.Subscribe(
      channel::kLog, [this](const std::string& payload) { OnLogNotification(payload); });
  run_subscription_ = notifications.Subscribe(
      channel::kRun, [this](const std::string& payload) { OnRunNotification(payload); });
}

LogHub::~LogHub() = default;

void LogHub::Publish(const JobId& job, const LogBatch& batch, bool is_end) {
  std::vector<WakeFunction> wakes;
  {
    base::MutexLock lock(mutex_);
    const auto it = topics_.find({job, batch.source()});
    if (it == topics_.end()) return;
    Topic& topic = it->second;
    Remember(topic, batch);
    const std::uint64_t last = batch.records().empty() ? 0 : LastOf(batch);
    if (Advance(topic.position, last, is_end)) wakes = WakesOf(topic);
  }
  for (const WakeFunction& wake : wakes) wake(Wake::kRecords);
}

void LogHub::Remember(Topic& topic, const LogBatch& batch) {
  if (batch.records().empty()) return;
  // A batch that does not continue the last one makes what is there useless for reading on.
  if (!topic.batches.empty() && LastOf(topic.batches.back()) + 1 != FirstOf(batch)) Forget(topic);
  const std::size_t bytes = BytesOf(batch);
  if (bytes_ + bytes > limits_.bytes_total) {
    // Followers read storage instead until others are gone.
    Forget(topic);
    return;
  }
  topic.batches.push_back(batch);
  topic.batch_bytes.push_back(bytes);
  topic.bytes += bytes;
  bytes_ += bytes;
  while (topic.bytes > limits_.bytes_per_log && topic.batches.size() > 1) {
    topic.bytes -= topic.batch_bytes.front();
    bytes_ -= topic.batch_bytes.front();
    topic.batches.pop_front();
    topic.batch_bytes.pop_front();
  }
}

void LogHub::Forget(Topic& topic) {
  bytes_ -= topic.bytes;
  topic.bytes = 0;
  topic.batches.clear();
  topic.batch_bytes.clear();
}

std::vector<LogHub::WakeFunction> LogHub::WakesOf(const Topic& topic) {
  std::vector<WakeFunction> wakes;
  wakes.reserve(topic.followers.size());
  for (const auto& [id, follower] : topic.followers) wakes.push_back(follower.wake);
  return wakes;
}

void LogHub::OnLogNotification(const std::string& payload) {
  if (payload.empty()) {
    WakeAll();
    return;
  }
  const auto announcement = Parse(payload);
  if (!announcement) return;
  std::vector<WakeFunction> wakes;
  {
    base::MutexLock lock(mutex_);
    const auto it = topics_.find({announcement->job, announcement->source});
    if (it == topics_.end()) return;
    Topic& topic = it->second;
    if (Advance(topic.position, announcement->last_sequence, announcement->is_ended)) {
      wakes = WakesOf(topic);
    }
  }
  for (const WakeFunction& wake : wakes) wake(Wake::kRecords);
}

void LogHub::OnRunNotification(const std::string& payload) {
  if (payload.empty()) return;  // the same reconnect reaches OnLogNotification
  std::vector<WakeFunction> wakes;
  {
    base::MutexLock lock(mutex_);
    const auto [begin, end] = followers_of_run_.equal_range(RunId(payload));
    for (auto it = begin; it != end; ++it)
      wakes.push_back(topics_[it->second.first].followers[it->second.second].wake);
  }
  for (const WakeFunction& wake : wakes) wake(Wake::kState);
}

void LogHub::WakeAll() {
  std::vector<WakeFunction> wakes;
  {
    base::MutexLock lock(mutex_);
    for (const auto& [key, topic] : topics_) {
      for (const auto& [id, follower] : topic.followers) wakes.push_back(follower.wake);
    }
  }
  for (const WakeFunction& wake : wakes) wake(Wake::kLookAgain);
}

std::unique_ptr<LogHub::Tap> LogHub::Follow(const RunId& run,
                                            const JobId& job,
                                            common::v1::LogSource source,
                                            WakeFunction wake) {
  base::MutexLock lock(mutex_);
  const std::uint64_t id = next_id_++;
  const Key key{job, static_cast<int>(source)};
  topics_[key].followers[id] = {run, std::move(wake)};
  followers_of_run_.emplace(run, std::pair(key, id));
  return std::unique_ptr<Tap>(new Tap(*this, job, source, id));
}

void LogHub::Leave(const Key& key, std::uint64_t id) {
  base::MutexLock lock(mutex_);
  const auto it = topics_.find(key);
  if (it == topics_.end()) return;
  const auto follower = it->second.followers.find(id);
  auto [begin, end] = followers_of_run_.equal_range(follower->second.run);
  followers_of_run_.erase(
      std::find_if(begin, end, [&](const auto& entry) { return entry.second.second == id; }));
  it->second.followers.erase(follower);
  if (!it->second.followers.empty()) return;
  Forget(it->second);
  topics_.erase(it);
}

std::size_t LogHub::bytes() const {
  base::MutexLock lock(mutex_);
  return bytes_;
}

LogHub::Tap::~Tap() { hub_.Leave({job_, source_}, id_); }

std::optional<LogBatch> LogHub::Tap::ReadAfter(std::uint64_t sequence,
                                               std::size_t max_bytes) const {
  base::MutexLock lock(hub_.mutex_);
  const auto it = hub_.topics_.find({job_, source_});
  if (it == hub_.topics_.end() || it->second.batches.empty()) return std::nullopt;
  const auto& batches = it->second.batches;
  if (sequence + 1 < FirstOf(batches.front()) || sequence >= LastOf(batches.back()))
    return std::nullopt;
  LogBatch result;
  result.set_source(source_);
  std::size_t bytes = 0;
  for (const LogBatch& batch : batches) {
    if (LastOf(batch) <= sequence) continue;
    for (const LogRecord& record : batch.records()) {
      if (record.sequence() <= sequence) continue;
      if (bytes > 0 && bytes + record.data().size() > max_bytes) return result;
      bytes += record.data().size() + kRecordOverheadBytes;
      *result.add_records() = record;
    }
  }
  return result;
}

LogHub::Position LogHub::Tap::position() const {
  base::MutexLock lock(hub_.mutex_);
  const auto it = hub_.topics_.find({job_, source_});
  return it == hub_.topics_.end() ? Position() : it->second.position;
}

}  // namespace dstack::server
