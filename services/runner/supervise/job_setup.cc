#include "services/runner/supervise/job_setup.h"

#include <fcntl.h>
#include <unistd.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "services/runner/job/working_dir.h"
#include "services/runner/state/image_config.h"

namespace dstack::runner {
namespace {

constexpr char kSystemProfile[] = "/etc/profile";

std::string MpiHostfilePath(const Surroundings& surroundings) {
  return surroundings.shared_dir + "/mpi/hostfile";
}

void WriteMpiHostfile(const v1::JobSpec& job, const Surroundings& surroundings, RunnerLog& log) {
  const std::string path = MpiHostfilePath(surroundings);
  absl::Status written = base::MakeDirs(surroundings.shared_dir + "/mpi", 0755);
  if (written.ok()) written = base::WriteFileAtomic(path, MpiHostfile(job.cluster()), 0644);
  if (!written.ok()) log.Line(fmt::format("no MPI hostfile: {}", base::Message(written)));
}

absl::StatusOr<std::vector<std::string>> FindCommand(const v1::JobSpec& job,
                                                     const ImageConfig& image) {
  if (job.command_size() > 0) {
    return std::vector<std::string>(job.command().begin(), job.command().end());
  }
  std::vector<std::string> command = image.Command();
  if (command.empty()) {
    return base::InvalidField("command",
                              "the job has none, and the image has no entrypoint and no command");
  }
  return command;
}

absl::Status MakeWorkingDir(const Places& places, RunnerLog& log) {
  ASSIGN_OR_RETURN(const bool is_new, MakeDirsFor(places.working_dir, places.user));
  if (is_new) log.Line(fmt::format("working directory {} created", places.working_dir));
  return absl::OkStatus();
}

// The system's profile reads ours; nothing else of the image is changed.
absl::Status SourceFromSystemProfile(const std::string& profile) {
  const std::string line = fmt::format("[ -r {0} ] && . {0}\n", profile);
  RETURN_IF_ERROR(base::MakeDirs("/etc", 0755));  // an image without anything
  const auto content = base::ReadFile(kSystemProfile);
  if (content.ok() && content->find(line) != std::string::npos) return absl::OkStatus();
  base::UniqueFd file(open(kSystemProfile, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
  if (!file) return base::ErrnoError(errno, kSystemProfile);
  return base::WriteAll(file.get(), "\n" + line);
}

}  // namespace

absl::StatusOr<PreparedJob> PrepareJob(const v1::JobSpec& job,
                                       const TaskDir& dir,
                                       const Surroundings& surroundings,
                                       RunnerLog& log) {
  ASSIGN_OR_RETURN(const ImageConfig image, LoadImageConfig(dir.ImageConfig()));
  ASSIGN_OR_RETURN(const Places places, ResolvePlaces(job, image, surroundings.initial_dir));
  if (!places.user_note.empty()) log.Line(places.user_note);
  RETURN_IF_ERROR(MakeWorkingDir(places, log));
  WriteMpiHostfile(job, surroundings, log);

  std::string repo_dir;
  if (job.has_repo()) {
    ASSIGN_OR_RETURN(repo_dir,
                     ResolvePath(job.repo().path(), places.working_dir, places.user.home));
  }
  PreparedJob prepared;
  prepared.user = places.user;
  ASSIGN_OR_RETURN(prepared.launch.argv, FindCommand(job, image));
  prepared.environment = BuildJobEnvironment(surroundings.environment,
                                             job,
                                             {.working_dir = places.working_dir,
                                              .home = places.user.home,
                                              .mpi_hostfile = MpiHostfilePath(surroundings),
                                              .repo_dir = repo_dir});
  prepared.launch.env = ToEntries(prepared.environment);
  prepared.launch.working_dir = places.working_dir;
  if (places.can_switch) prepared.launch.user = places.user;
  prepared.home_files = std::make_unique<HomeFiles>();
  const absl::Status placed =
      prepared.home_files->Place(job, places.user, surroundings.ssh_port, places.can_switch);
  if (!placed.ok()) log.Line(fmt::format("no ssh files in the home: {}", base::Message(placed)));
  return prepared;
}

void WriteLoginProfile(const PreparedJob& job, const Surroundings& surroundings, RunnerLog& log) {
  const std::string path = surroundings.shared_dir + "/profile";
  // It holds the job's secrets: for its user only.
  absl::Status written =
      base::WriteFileAtomic(path, LoginProfile(job.environment, job.launch.working_dir), 0600);
  if (written.ok() && geteuid() == 0 && chown(path.c_str(), job.user.uid, job.user.gid) != 0) {
    written = base::ErrnoError(errno, path);
  }
  if (written.ok() && surroundings.is_container) written = SourceFromSystemProfile(path);
  if (!written.ok()) {
    log.Line(
        fmt::format("login shells do not get the job's environment: {}", base::Message(written)));
  }
}

}  // namespace dstack::runner
