#include "services/runner/domain/job_validate.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"

namespace dstack::runner {
namespace {

using Violations = std::vector<base::FieldViolation>;

bool HasNul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

bool IsDigest(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

void CheckDuration(std::string_view field,
                   const google::protobuf::Duration& duration,
                   Violations* out) {
  if (duration.seconds() < 0 || duration.nanos() < 0) {
    out->push_back({std::string(field), "must not be negative"});
  }
}

void CheckCommand(const v1::JobSpec& job, Violations* out) {
  for (int i = 0; i < job.command_size(); ++i) {
    if (HasNul(job.command(i))) {
      out->push_back({fmt::format("command[{}]", i), "must not contain a NUL byte"});
    }
  }
  if (job.command_size() > 0 && job.command(0).empty()) {
    out->push_back({"command[0]", "must name a program"});
  }
}

void CheckEnv(const v1::JobSpec& job, Violations* out) {
  for (const auto& [name, value] : job.env()) {
    if (name.empty() || HasNul(name) || name.find('=') != std::string::npos) {
      out->push_back({fmt::format("env[{:?}]", name),
                      "a name must not be empty and must not contain '=' or a NUL byte"});
    }
    // The value may be a secret and is not shown.
    if (HasNul(value)) {
      out->push_back({fmt::format("env[{:?}]", name), "the value must not contain a NUL byte"});
    }
  }
}

void CheckPaths(const v1::JobSpec& job, Violations* out) {
  const std::string& dir = job.working_dir();
  if (HasNul(dir) || (!dir.empty() && dir.front() != '/' && dir.front() != '~')) {
    out->push_back({"working_dir", fmt::format("{:?} must be absolute or begin with \"~\"", dir)});
  }
  for (int i = 0; i < job.files_size(); ++i) {
    const v1::FileMapping& file = job.files(i);
    if (!IsDigest(file.digest())) {
      out->push_back({fmt::format("files[{}].digest", i),
                      fmt::format("{:?} is not 64 lower-case hexadecimal digits", file.digest())});
    }
    const bool is_other_home =
        file.path().starts_with('~') && file.path().size() > 1 && file.path()[1] != '/';
    if (file.path().empty() || HasNul(file.path()) || is_other_home) {
      out->push_back(
          {fmt::format("files[{}].path", i),
           fmt::format("{:?} must be relative, absolute or begin with \"~/\"", file.path())});
    }
  }
}

void CheckUser(const v1::UserSpec& user, Violations* out) {
  if (user.has_uid() && user.has_username()) {
    out->push_back({"user", "uid and username exclude each other"});
  }
  if (user.has_gid() && user.has_groupname()) {
    out->push_back({"user", "gid and groupname exclude each other"});
  }
}

}  // namespace

absl::Status ValidateJob(const v1::JobSpec& job) {
  Violations violations;
  if (job.identity().job_id().empty()) {
    violations.push_back({"identity.job_id", "must be set"});
  }
  CheckCommand(job, &violations);
  CheckEnv(job, &violations);
  CheckPaths(job, &violations);
  CheckUser(job.user(), &violations);
  CheckDuration("max_duration", job.max_duration(), &violations);
  CheckDuration("stop_duration", job.stop_duration(), &violations);
  return base::InvalidFields(violations);
}

}  // namespace dstack::runner
