#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "libs/base/mutex.h"
#include "services/server/ports/file_store.h"
#include "services/server/ports/identity_store.h"
#include "services/server/ports/instance_store.h"
#include "services/server/ports/job_store.h"
#include "services/server/ports/log_store.h"
#include "services/server/ports/notifications.h"
#include "services/server/ports/usage_store.h"

// The parts of the stores that drivers of hosts use, in memory. Runs are not rolled up.
namespace dstack::server::fakes {

// Hosts and jobs together: a job's release changes its host.
class MemoryHosts {
 public:
  struct Host {
    Instance instance;
    HostConnection connection;
  };

  void AddHost(Host host);
  void AddJob(JobAndRun row);
  // As RunStore::RequestStop does it.
  void RequestStop(const JobId& id, JobTerminationReason reason, std::chrono::milliseconds grace);
  void ChangeInstance(const InstanceId& id, const InstanceStore::Change& change);
  // Another replica takes the host.
  void StealHost(const InstanceId& id);
  // Forgets a job, as a deleted run does.
  void DeleteJob(const JobId& id);

  Job GetJob(const JobId& id) const;
  Instance GetInstance(const InstanceId& id) const;
  // Distinct statuses that a job had, in order.
  std::vector<JobStatus> HistoryOf(const JobId& id) const;
  std::size_t job_updates() const;
  // The next calls fail with this, until it is OK again.
  void FailAll(absl::Status status);

  InstanceStore& instances() { return instance_store_; }
  JobStore& jobs() { return job_store_; }

 private:
  class Instances final : public InstanceStore {
   public:
    explicit Instances(MemoryHosts& hosts) : hosts_(hosts) {}
    absl::Status Heartbeat(const std::string&, std::chrono::milliseconds, bool) override;
    absl::Status Retire(const std::string& replica_id) override;
    absl::StatusOr<std::vector<ClaimedHost>> Claim(const std::string&, std::size_t) override;
    absl::StatusOr<Instance> Load(const InstanceId& id) override;
    absl::StatusOr<HostConnection> LoadConnection(const InstanceId& id) override;
    absl::StatusOr<Instance> Update(const HostEpoch&, TimePoint, const Change&) override;
    absl::StatusOr<Instance> SetDrain(const InstanceId&,
                                      const std::optional<std::string>& reason,
                                      const UserId&,
                                      TimePoint) override;
    absl::StatusOr<Page> List(const Filter& filter) override;

   private:
    MemoryHosts& hosts_;
  };
  class Jobs final : public JobStore {
   public:
    explicit Jobs(MemoryHosts& hosts) : hosts_(hosts) {}
    absl::StatusOr<SchedulerSnapshot> LoadSchedulerSnapshot(std::size_t) override;
    absl::Status Assign(const Assignment&, TimePoint) override;
    absl::Status FailWaiting(const JobId&,
                             JobTerminationReason,
                             const std::string&,
                             TimePoint) override;
    absl::StatusOr<std::vector<JobAndRun>> LoadOfHost(const InstanceId& instance) override;
    absl::StatusOr<JobAndRun> Load(const JobId& id) override;
    absl::StatusOr<Job> Update(const HostEpoch&, const JobId&, TimePoint, const Change&) override;
    absl::Status SetUnreachable(const HostEpoch&, bool, TimePoint) override;

   private:
    MemoryHosts& hosts_;
  };

  absl::Status CheckEpoch(const HostEpoch& host) const REQUIRES(mutex_);

  mutable base::Mutex mutex_;
  std::map<std::string, Host> hosts_ GUARDED_BY(mutex_);
  std::map<std::string, JobAndRun> jobs_ GUARDED_BY(mutex_);
  std::map<std::string, std::vector<JobStatus>> history_ GUARDED_BY(mutex_);
  std::size_t job_updates_ GUARDED_BY(mutex_) = 0;
  absl::Status failure_ GUARDED_BY(mutex_);
  Instances instance_store_{*this};
  Jobs job_store_{*this};
};

// Checks sequences as the real one does.
class MemoryLogs final : public LogStore {
 public:
  absl::StatusOr<std::vector<std::uint64_t>> AppendAll(const std::vector<Append>& appends) override;
  absl::StatusOr<std::vector<LogPosition>> Positions(const JobId& job) override;
  absl::StatusOr<ReadResult> Read(const ReadRequest& request) override;

  std::string TextOf(const JobId& job) const;
  bool IsEnded(const JobId& job) const;
  std::size_t commits() const;
  void FailAll(absl::Status status);

 private:
  struct Stream {
    std::vector<common::v1::LogRecord> records;
    bool is_ended = false;
  };
  using Key = std::pair<std::string, int>;
  mutable base::Mutex mutex_;
  std::map<Key, Stream> streams_ GUARDED_BY(mutex_);
  std::size_t commits_ GUARDED_BY(mutex_) = 0;
  absl::Status failure_ GUARDED_BY(mutex_);
};

class MemoryFiles final : public FileStore {
 public:
  absl::StatusOr<std::vector<std::string>> FindMissing(const UserId&,
                                                       const std::vector<std::string>&) override;
  absl::Status Put(const UserId&, const std::string& digest, const std::string& content) override;
  absl::StatusOr<std::string> Get(const UserId&, const std::string& digest) override;

 private:
  base::Mutex mutex_;
  std::map<std::string, std::string> files_ GUARDED_BY(mutex_);
};

// Only the keys of users are asked for.
class MemoryIdentities final : public IdentityStore {
 public:
  absl::StatusOr<SshKeyPair> LoadUserKey(const UserId&) override {
    return SshKeyPair{"ssh-ed25519 user", base::Secret("")};
  }
  absl::StatusOr<User> FindByToken(const base::Secret&) override { return No(); }
  absl::StatusOr<User> CreateUser(const std::string&,
                                  api::v1::GlobalRole,
                                  const base::Secret&,
                                  const SshKeyPair&) override {
    return No();
  }
  absl::StatusOr<std::vector<User>> ListUsers(std::uint32_t, const std::string&) override {
    return No();
  }
  absl::Status EnsureToken(const UserId&, const base::Secret&) override { return No(); }
  absl::StatusOr<User> FindUser(const std::string&) override { return No(); }
  absl::StatusOr<Project> CreateProject(const std::string&,
                                        const User&,
                                        const SshKeyPair&) override {
    return No();
  }
  absl::StatusOr<Project> LoadProject(const std::string&) override { return No(); }
  absl::StatusOr<api::v1::ProjectRole> RoleOf(const UserId&, const ProjectId&) override {
    return No();
  }
  absl::StatusOr<std::vector<Project>> ListProjects(const User&,
                                                    std::uint32_t,
                                                    const std::string&) override {
    return No();
  }
  absl::StatusOr<std::string> ServerId() override { return No(); }

 private:
  static absl::Status No() { return absl::UnimplementedError("not needed by drivers"); }
};

class MemoryUsage final : public UsageStore {
 public:
  absl::Status Append(const std::vector<Row>& rows) override;
  absl::StatusOr<std::vector<api::v1::UsagePoint>> Read(const std::string& subject_id,
                                                        const Window& window) override;

 private:
  base::Mutex mutex_;
  std::vector<Row> rows_ GUARDED_BY(mutex_);
};

}  // namespace dstack::server::fakes
