#include "services/server/agents/agent_bundle.h"

#include <climits>
#include <utility>

#include <unistd.h>

#include "fmt/format.h"
#include "libs/base/file.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"
#include "libs/process/subprocess.h"

namespace dstack::server {
namespace {

constexpr std::size_t kDigestDigits = 12;
constexpr std::size_t kLargestFile = 512 << 20;
constexpr std::chrono::seconds kTarTimeout{60};

absl::StatusOr<std::string> OwnDirectory() {
  char path[PATH_MAX] = {};
  const ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - 1);
  if (size <= 0) return base::ErrnoError(errno, "reading /proc/self/exe");
  const std::string program(path, static_cast<std::size_t>(size));
  return program.substr(0, program.rfind('/'));
}

absl::StatusOr<AgentFile> LoadFile(const std::string& name, const std::string& path) {
  AgentFile file;
  file.name = name;
  auto content = base::ReadFile(path, kLargestFile);
  if (!content.ok()) return base::Annotate(content.status(), "agent {}", path);
  file.content = *std::move(content);
  file.digest = base::Sha256Hex(file.content);
  return file;
}

// The same directory always gives the same bytes, so that hosts need it only once.
absl::StatusOr<AgentFile> PackDirectory(const std::string& name, const std::string& directory) {
  process::Options options;
  options.output_limit_bytes = kLargestFile;
  auto packed = process::RunChecked({"tar",
                                     "-C",
                                     directory,
                                     "--sort=name",
                                     "--mtime=@0",
                                     "--owner=0",
                                     "--group=0",
                                     "--numeric-owner",
                                     "-cf",
                                     "-",
                                     "."},
                                    kTarTimeout,
                                    options);
  if (!packed.ok()) return base::Annotate(packed.status(), "packing {}", directory);
  AgentFile file;
  file.name = name;
  file.content = *std::move(packed);
  file.digest = base::Sha256Hex(file.content);
  return file;
}

}  // namespace

std::string AgentFile::VersionedName() const {
  return fmt::format("{}-{}", name, digest.substr(0, kDigestDigits));
}

absl::StatusOr<AgentBundle::Paths> AgentBundle::Find(const std::string& agents_dir) {
  Paths paths;
  std::string bin = agents_dir;
  if (bin.empty()) {
    ASSIGN_OR_RETURN(bin, OwnDirectory());
  }
  paths.shim = base::JoinPath(bin, "dstack-shim");
  paths.runner = base::JoinPath(bin, "dstack-runner");
  for (const std::string& path : {paths.shim, paths.runner}) {
    if (access(path.c_str(), R_OK) != 0) {
      return absl::NotFoundError(base::ToAbsl(fmt::format(
          "{} is missing: the server copies it to hosts; --agents-dir names another directory",
          path)));
    }
  }
  for (const std::string& path : {bin + "/ssh-bundle", bin + "/../share/dstack/ssh-bundle"}) {
    if (paths.ssh_bundle.empty() && base::Exists(path)) paths.ssh_bundle = path;
  }
  return paths;
}

absl::StatusOr<std::shared_ptr<const AgentBundle::Files>> AgentBundle::Get() {
  // Held while the files are read: whoever comes meanwhile needs them too.
  base::MutexLock lock(mutex_);
  if (auto loaded = files_.lock()) return loaded;
  auto files = std::make_shared<Files>();
  ASSIGN_OR_RETURN(files->shim, LoadFile("dstack-shim", paths_.shim));
  ASSIGN_OR_RETURN(files->runner, LoadFile("dstack-runner", paths_.runner));
  if (!paths_.ssh_bundle.empty()) {
    ASSIGN_OR_RETURN(files->ssh, PackDirectory("ssh", paths_.ssh_bundle));
  }
  files_ = files;
  return files;
}

}  // namespace dstack::server
