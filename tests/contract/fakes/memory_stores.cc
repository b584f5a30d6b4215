#include "tests/contract/fakes/memory_stores.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "libs/base/status.h"

namespace dstack::server::fakes {
namespace {

absl::Status LeaseLost() {
  return base::Error(absl::StatusCode::kAborted, "LEASE_LOST", "another replica owns the host");
}

void Note(std::vector<JobStatus>& history, JobStatus status) {
  if (history.empty() || history.back() != status) history.push_back(status);
}

}  // namespace

void MemoryHosts::AddHost(Host host) {
  base::MutexLock lock(mutex_);
  const std::string id = host.instance.id.str();
  hosts_[id] = std::move(host);
}

void MemoryHosts::AddJob(JobAndRun row) {
  base::MutexLock lock(mutex_);
  const std::string id = row.job.id.str();
  Note(history_[id], row.job.status);
  jobs_[id] = std::move(row);
}

void MemoryHosts::RequestStop(const JobId& id,
                              JobTerminationReason reason,
                              std::chrono::milliseconds grace) {
  base::MutexLock lock(mutex_);
  Job& job = jobs_.at(id.str()).job;
  if (IsFinal(job.status)) return;
  job.status = api::v1::JOB_STATUS_TERMINATING;
  job.termination_reason = reason;
  job.stop_grace = grace;
  Note(history_[id.str()], job.status);
}

void MemoryHosts::ChangeInstance(const InstanceId& id, const InstanceStore::Change& change) {
  base::MutexLock lock(mutex_);
  change(hosts_.at(id.str()).instance);
}

void MemoryHosts::StealHost(const InstanceId& id) {
  base::MutexLock lock(mutex_);
  Instance& instance = hosts_.at(id.str()).instance;
  instance.owner_replica_id = "thief";
  ++instance.owner_epoch;
}

void MemoryHosts::DeleteJob(const JobId& id) {
  base::MutexLock lock(mutex_);
  jobs_.erase(id.str());
}

Job MemoryHosts::GetJob(const JobId& id) const {
  base::MutexLock lock(mutex_);
  return jobs_.at(id.str()).job;
}

Instance MemoryHosts::GetInstance(const InstanceId& id) const {
  base::MutexLock lock(mutex_);
  return hosts_.at(id.str()).instance;
}

std::vector<JobStatus> MemoryHosts::HistoryOf(const JobId& id) const {
  base::MutexLock lock(mutex_);
  return history_.at(id.str());
}

std::size_t MemoryHosts::job_updates() const {
  base::MutexLock lock(mutex_);
  return job_updates_;
}

void MemoryHosts::FailAll(absl::Status status) {
  base::MutexLock lock(mutex_);
  failure_ = std::move(status);
}

absl::Status MemoryHosts::CheckEpoch(const HostEpoch& host) const {
  if (!failure_.ok()) return failure_;
  const auto it = hosts_.find(host.instance_id.str());
  if (it == hosts_.end()) return absl::NotFoundError("no such instance");
  return it->second.instance.owner_epoch == host.epoch ? absl::OkStatus() : LeaseLost();
}

absl::Status MemoryHosts::Instances::Heartbeat(const std::string&,
                                               std::chrono::milliseconds,
                                               bool) {
  base::MutexLock lock(hosts_.mutex_);
  return hosts_.failure_;
}

absl::Status MemoryHosts::Instances::Retire(const std::string& replica_id) {
  base::MutexLock lock(hosts_.mutex_);
  for (auto& [id, host] : hosts_.hosts_) {
    if (host.instance.owner_replica_id == replica_id) host.instance.owner_replica_id.clear();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ClaimedHost>> MemoryHosts::Instances::Claim(
    const std::string& replica_id, std::size_t limit) {
  base::MutexLock lock(hosts_.mutex_);
  RETURN_IF_ERROR(hosts_.failure_);
  std::vector<ClaimedHost> claimed;
  for (auto& [id, host] : hosts_.hosts_) {
    if (claimed.size() == limit) break;
    if (!host.instance.owner_replica_id.empty() || IsFinal(host.instance.status)) continue;
    host.instance.owner_replica_id = replica_id;
    ++host.instance.owner_epoch;
    claimed.push_back({host.instance, host.connection});
  }
  return claimed;
}

absl::StatusOr<Instance> MemoryHosts::Instances::Load(const InstanceId& id) {
  base::MutexLock lock(hosts_.mutex_);
  RETURN_IF_ERROR(hosts_.failure_);
  const auto it = hosts_.hosts_.find(id.str());
  if (it == hosts_.hosts_.end()) return absl::NotFoundError("no such instance");
  return it->second.instance;
}

absl::StatusOr<HostConnection> MemoryHosts::Instances::LoadConnection(const InstanceId& id) {
  base::MutexLock lock(hosts_.mutex_);
  const auto it = hosts_.hosts_.find(id.str());
  if (it == hosts_.hosts_.end()) return absl::NotFoundError("no such instance");
  return it->second.connection;
}

absl::StatusOr<Instance> MemoryHosts::Instances::Update(const HostEpoch& host,
                                                        TimePoint,
                                                        const Change& change) {
  base::MutexLock lock(hosts_.mutex_);
  RETURN_IF_ERROR(hosts_.CheckEpoch(host));
  Instance& instance = hosts_.hosts_.at(host.instance_id.str()).instance;
  change(instance);
  return instance;
}

absl::StatusOr<Instance> MemoryHosts::Instances::SetDrain(const InstanceId& id,
                                                          const std::optional<std::string>& reason,
                                                          const UserId&,
                                                          TimePoint now) {
  base::MutexLock lock(hosts_.mutex_);
  const auto it = hosts_.hosts_.find(id.str());
  if (it == hosts_.hosts_.end()) return absl::NotFoundError("no such instance");
  Instance& instance = it->second.instance;
  instance.drain.reset();
  if (reason) instance.drain = InstanceDrain{.reason = *reason, .since = now};
  instance.is_drain_confirmed = false;
  return instance;
}

absl::StatusOr<InstanceStore::Page> MemoryHosts::Instances::List(const Filter&) {
  return absl::UnimplementedError("not needed by drivers");
}

absl::StatusOr<SchedulerSnapshot> MemoryHosts::Jobs::LoadSchedulerSnapshot(std::size_t) {
  return absl::UnimplementedError("not needed by drivers");
}

absl::Status MemoryHosts::Jobs::Assign(const Assignment&, TimePoint) {
  return absl::UnimplementedError("not needed by drivers");
}

absl::Status MemoryHosts::Jobs::FailWaiting(const JobId&,
                                            JobTerminationReason,
                                            const std::string&,
                                            TimePoint) {
  return absl::UnimplementedError("not needed by drivers");
}

absl::StatusOr<std::vector<JobAndRun>> MemoryHosts::Jobs::LoadOfHost(const InstanceId& instance) {
  base::MutexLock lock(hosts_.mutex_);
  RETURN_IF_ERROR(hosts_.failure_);
  std::vector<JobAndRun> rows;
  for (const auto& [id, row] : hosts_.jobs_) {
    if (row.job.instance_id == instance && !row.job.is_released) rows.push_back(row);
  }
  return rows;
}

absl::StatusOr<JobAndRun> MemoryHosts::Jobs::Load(const JobId& id) {
  base::MutexLock lock(hosts_.mutex_);
  RETURN_IF_ERROR(hosts_.failure_);
  const auto it = hosts_.jobs_.find(id.str());
  if (it == hosts_.jobs_.end()) return absl::NotFoundError("no such job");
  return it->second;
}

absl::StatusOr<Job> MemoryHosts::Jobs::Update(const HostEpoch& host,
                                              const JobId& id,
                                              TimePoint,
                                              const Change& change) {
  base::MutexLock lock(hosts_.mutex_);
  RETURN_IF_ERROR(hosts_.CheckEpoch(host));
  const auto it = hosts_.jobs_.find(id.str());
  if (it == hosts_.jobs_.end()) return absl::NotFoundError("no such job");
  ++hosts_.job_updates_;
  change(it->second.job);
  Note(hosts_.history_[id.str()], it->second.job.status);
  return it->second.job;
}

absl::Status MemoryHosts::Jobs::SetUnreachable(const HostEpoch& host,
                                               bool is_unreachable,
                                               TimePoint now) {
  base::MutexLock lock(hosts_.mutex_);
  RETURN_IF_ERROR(hosts_.CheckEpoch(host));
  for (auto& [id, row] : hosts_.jobs_) {
    if (row.job.instance_id != host.instance_id || IsFinal(row.job.status)) continue;
    if (!is_unreachable) {
      row.job.unreachable_since.reset();
    } else if (!row.job.unreachable_since.has_value()) {
      row.job.unreachable_since = now;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::uint64_t>> MemoryLogs::AppendAll(
    const std::vector<Append>& appends) {
  base::MutexLock lock(mutex_);
  RETURN_IF_ERROR(failure_);
  // All or nothing.
  auto changed = streams_;
  std::vector<std::uint64_t> positions;
  for (const Append& append : appends) {
    Stream& stream = changed[{append.job_id.str(), append.batch.source()}];
    for (const common::v1::LogRecord& record : append.batch.records()) {
      if (record.sequence() <= stream.records.size()) continue;
      if (record.sequence() != stream.records.size() + 1) {
        return base::Invalid(fmt::format(
            "records {} to {} are missing", stream.records.size() + 1, record.sequence() - 1));
      }
      stream.records.push_back(record);
    }
    stream.is_ended = stream.is_ended || append.is_end;
    positions.push_back(stream.records.size());
  }
  streams_ = std::move(changed);
  ++commits_;
  return positions;
}

absl::StatusOr<std::vector<LogPosition>> MemoryLogs::Positions(const JobId& job) {
  base::MutexLock lock(mutex_);
  RETURN_IF_ERROR(failure_);
  std::vector<LogPosition> positions;
  for (const auto& [key, stream] : streams_) {
    if (key.first != job.str() || stream.records.empty()) continue;
    positions.push_back({static_cast<common::v1::LogSource>(key.second), stream.records.size()});
  }
  return positions;
}

absl::StatusOr<LogStore::ReadResult> MemoryLogs::Read(const ReadRequest&) {
  return absl::UnimplementedError("not needed by drivers");
}

std::string MemoryLogs::TextOf(const JobId& job) const {
  base::MutexLock lock(mutex_);
  const auto it = streams_.find({job.str(), common::v1::LOG_SOURCE_JOB});
  std::string text;
  if (it == streams_.end()) return text;
  for (const common::v1::LogRecord& record : it->second.records) text += record.data();
  return text;
}

bool MemoryLogs::IsEnded(const JobId& job) const {
  base::MutexLock lock(mutex_);
  const auto it = streams_.find({job.str(), common::v1::LOG_SOURCE_JOB});
  return it != streams_.end() && it->second.is_ended;
}

std::size_t MemoryLogs::commits() const {
  base::MutexLock lock(mutex_);
  return commits_;
}

void MemoryLogs::FailAll(absl::Status status) {
  base::MutexLock lock(mutex_);
  failure_ = std::move(status);
}

absl::StatusOr<std::vector<std::string>> MemoryFiles::FindMissing(
    const UserId&, const std::vector<std::string>& digests) {
  base::MutexLock lock(mutex_);
  std::vector<std::string> missing;
  for (const std::string& digest : digests) {
    if (files_.count(digest) == 0) missing.push_back(digest);
  }
  return missing;
}

absl::Status MemoryFiles::Put(const UserId&,
                              const std::string& digest,
                              const std::string& content) {
  base::MutexLock lock(mutex_);
  files_[digest] = content;
  return absl::OkStatus();
}

absl::StatusOr<std::string> MemoryFiles::Get(const UserId&, const std::string& digest) {
  base::MutexLock lock(mutex_);
  const auto it = files_.find(digest);
  if (it == files_.end()) return base::NotFound("FILE_NOT_FOUND", "file", digest);
  return it->second;
}

absl::Status MemoryUsage::Append(const std::vector<Row>& rows) {
  base::MutexLock lock(mutex_);
  rows_.insert(rows_.end(), rows.begin(), rows.end());
  return absl::OkStatus();
}

absl::StatusOr<std::vector<api::v1::UsagePoint>> MemoryUsage::Read(const std::string& subject_id,
                                                                   const Window&) {
  base::MutexLock lock(mutex_);
  std::vector<api::v1::UsagePoint> points;
  for (const Row& row : rows_) {
    if (row.subject_id == subject_id) points.push_back(row.point);
  }
  return points;
}

}  // namespace dstack::server::fakes
