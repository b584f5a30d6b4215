#include "services/shim/pipeline/task_directory.h"

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dstack/runner/v1/job.pb.h"

#include "libs/base/file.h"
#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace dstack::shim {
namespace {

constexpr mode_t kDirMode = 0700;
constexpr mode_t kSecretMode = 0600;
constexpr std::size_t kMaxStatusBytes = std::size_t{1} << 20;

std::string AuthorizedKeys(const v1::TaskSpec& spec) {
  std::string text;
  for (const std::string& key : spec.container_ssh_keys()) text += key + "\n";
  return text;
}

// "uid" or "uid:gid" of a validated container_user; nothing for the superuser.
std::optional<std::pair<uid_t, gid_t>> NumericUser(const v1::TaskSpec& spec) {
  const std::string& user = spec.container_user();
  unsigned uid = 0;
  const char* end = user.data() + user.size();
  const auto first = std::from_chars(user.data(), end, uid);
  if (first.ec != std::errc() || uid == 0) return std::nullopt;
  unsigned gid = 0;
  if (first.ptr != end) std::from_chars(first.ptr + 1, end, gid);
  return std::pair{uid, gid};
}

// The symbolic links of what is there are resolved, so that a link made by one task does not lead
// another one's mount to a protected place.
std::string Resolved(const std::string& path) {
  std::error_code error;
  const auto resolved = std::filesystem::weakly_canonical(path, error);
  return error ? path : resolved.string();
}

absl::StatusOr<std::string> PrepareMount(const std::string& wanted, const HostAbilities& host) {
  const std::string path = Resolved(wanted);
  HostAbilities resolved = host;
  for (std::string& kept : resolved.protected_paths) kept = Resolved(kept);
  if (TouchesProtectedPath(path, resolved)) {
    return absl::PermissionDeniedError("it would open the host's agent to the task");
  }
  if (base::Exists(path)) return path;
  RETURN_IF_ERROR(base::MakeDirs(path, 0755));
  // Only the leaf, and only one that was made here, is open to every user of the container.
  if (::chmod(path.c_str(), 0777) != 0) return base::ErrnoError(errno, path);
  return path;
}

}  // namespace

TaskDirectory::TaskDirectory(ShimHome home, uid_t owner, gid_t group)
    : home_(std::move(home)), owner_(owner), group_(group) {}

absl::Status TaskDirectory::Prepare(const v1::TaskSpec& spec) const {
  const std::string& task_id = spec.task_id();
  const std::string runner_dir = home_.RunnerDir(task_id);
  RETURN_IF_ERROR(base::MakeDirs(runner_dir, kDirMode));
  RETURN_IF_ERROR(LinkShortName(task_id));
  RETURN_IF_ERROR(WriteFile(runner_dir + "/token", spec.runner_token()));
  RETURN_IF_ERROR(WriteFile(runner_dir + "/authorized_keys", AuthorizedKeys(spec)));
  RETURN_IF_ERROR(Own(home_.Tasks(), spec));
  RETURN_IF_ERROR(Own(home_.ShortNames(), spec));
  RETURN_IF_ERROR(Own(home_.TaskDir(task_id), spec));
  RETURN_IF_ERROR(Own(runner_dir, spec));
  const auto user = NumericUser(spec);
  if (!user) return absl::OkStatus();
  // A runner that is not the superuser in its container owns its directory instead; the account of
  // the server may still pass through to the socket.
  for (const std::string& path :
       {runner_dir, runner_dir + "/token", runner_dir + "/authorized_keys"}) {
    if (::chown(path.c_str(), user->first, user->second) != 0) {
      return base::ErrnoError(errno, "chown " + path);
    }
  }
  if (::chmod(runner_dir.c_str(), 0711) != 0) return base::ErrnoError(errno, "chmod " + runner_dir);
  return absl::OkStatus();
}

absl::Status TaskDirectory::Own(const std::string& path, const v1::TaskSpec& spec) const {
  if (::geteuid() != 0 || (owner_ == 0 && group_ == 0)) return absl::OkStatus();
  if (::chown(path.c_str(), owner_, group_) == 0) return absl::OkStatus();
  return base::ErrnoError(errno, fmt::format("chown {} of task {}", path, spec.task_id()));
}

absl::Status TaskDirectory::LinkShortName(const std::string& task_id) const {
  RETURN_IF_ERROR(base::MakeDirs(home_.ShortNames(), kDirMode));
  const std::string link = home_.ShortRunnerDir(task_id);
  const std::string target = fmt::format("../tasks/{}/runner", task_id);
  ::unlink(link.c_str());
  if (::symlink(target.c_str(), link.c_str()) != 0) return base::ErrnoError(errno, link);
  return absl::OkStatus();
}

absl::Status TaskDirectory::WriteFile(const std::string& path, std::string_view bytes) const {
  // Written beside and renamed: a runner that is already there never sees half a file.
  const std::string temporary = path + ".new";
  ::unlink(temporary.c_str());
  const base::UniqueFd fd(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, kSecretMode));
  if (!fd) return base::ErrnoError(errno, temporary);
  absl::Status status = base::Annotate(base::WriteAll(fd.get(), bytes), "{}", path);
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    status = base::ErrnoError(errno, path);
  }
  if (!status.ok()) ::unlink(temporary.c_str());
  return status;
}

absl::StatusOr<std::vector<v1::BindMount>> TaskDirectory::PrepareMounts(
    const v1::TaskSpec& spec, const HostAbilities& host) const {
  std::vector<v1::BindMount> mounts;
  for (const v1::BindMount& mount : spec.mounts()) {
    const auto path = PrepareMount(mount.host_path(), host);
    if (path.ok()) {
      mounts.push_back(mount);
      mounts.back().set_host_path(*path);
    } else if (!mount.is_optional()) {
      return base::Annotate(path.status(), "mount {}", mount.host_path());
    } else {
      telemetry::Info("an optional mount is left out",
                      {{"task_id", spec.task_id()}, {"status", path.status()}});
    }
  }
  return mounts;
}

std::vector<std::uint16_t> TaskDirectory::RunnerPorts(const std::string& task_id) const {
  runner::v1::JobStatus status;
  const auto bytes = base::ReadFile(home_.RunnerDir(task_id) + "/status.pb", kMaxStatusBytes);
  const bool has_port = bytes.ok() && status.ParseFromString(*bytes) && status.ssh_port() > 0 &&
                        status.ssh_port() <= 65535;
  if (!has_port) return {};
  return {static_cast<std::uint16_t>(status.ssh_port())};
}

absl::Status TaskDirectory::WriteImageConfig(const std::string& task_id,
                                             const ImageConfig& config) const {
  const nlohmann::json object = {{"entrypoint", config.entrypoint},
                                 {"cmd", config.cmd},
                                 {"user", config.user},
                                 {"working_dir", config.working_dir},
                                 {"env", config.env}};
  return WriteFile(home_.RunnerDir(task_id) + "/image_config.json",
                   object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

absl::Status TaskDirectory::WriteStopGrace(const std::string& task_id,
                                           std::chrono::milliseconds grace) const {
  // The runner reads whole seconds.
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(grace);
  return WriteFile(home_.RunnerDir(task_id) + "/stop_grace", fmt::format("{}\n", seconds.count()));
}

bool TaskDirectory::HasJobEnded(const std::string& task_id) const {
  return base::Exists(home_.RunnerDir(task_id) + "/exit.pb");
}

}  // namespace dstack::shim
