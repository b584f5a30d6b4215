#include "services/shim/update/component_store.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <utility>

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/macros.h"
#include "libs/base/status.h"
#include "libs/process/subprocess.h"
#include "libs/telemetry/log.h"

namespace dstack::shim {
namespace {

constexpr std::uint64_t kMaxComponentBytes = 512ULL << 20;
constexpr std::size_t kMaxChunkBytes = 1U << 20;
constexpr std::size_t kSha256Digits = 64;
constexpr std::chrono::seconds kVersionTimeout{10};
constexpr std::chrono::seconds kUnpackTimeout{60};
#if defined(__x86_64__)
constexpr Elf64_Half kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr Elf64_Half kMachine = EM_AARCH64;
#endif

absl::Status Refuse(std::string_view reason, const std::string& message) {
  return base::Error(absl::StatusCode::kFailedPrecondition, reason, message);
}

std::string Digits(const std::string& sha256) { return sha256.substr(0, kDigestDigits); }

absl::Status CheckChunk(const v1::ComponentChunk& chunk) {
  std::vector<base::FieldViolation> violations;
  const v1::Component component = chunk.component().component();
  if (component < v1::COMPONENT_SHIM || component > v1::COMPONENT_SSH) {
    violations.push_back({"component.component", fmt::format("{} is unknown", int{component})});
  }
  const std::string& sha256 = chunk.component().sha256();
  const bool is_hex = sha256.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (sha256.size() != kSha256Digits || !is_hex) {
    violations.push_back({"component.sha256", "must be 64 hexadecimal digits in lower case"});
  }
  if (chunk.total_bytes() == 0) violations.push_back({"total_bytes", "must be above 0"});
  if (chunk.data().empty() || chunk.data().size() > kMaxChunkBytes) {
    violations.push_back({"data", fmt::format("must be 1 to {} bytes", kMaxChunkBytes)});
  }
  RETURN_IF_ERROR(base::InvalidFields(violations));
  if (chunk.total_bytes() > kMaxComponentBytes) {
    return Refuse("TOO_LARGE",
                  fmt::format("{} bytes are above {}", chunk.total_bytes(), kMaxComponentBytes));
  }
  return absl::OkStatus();
}

// What `--version` prints, which also shows that the program starts on this host.
absl::StatusOr<std::string> VersionOf(const std::string& program) {
  const auto text = process::RunChecked({program, "--version"}, kVersionTimeout);
  if (!text.ok()) {
    return Refuse("VERSION_MISMATCH",
                  fmt::format("{} does not start on this host: {}",
                              std::filesystem::path(program).filename().string(),
                              base::Message(text.status())));
  }
  // "0.1.0", or "name 0.1.0".
  std::string version = *text;
  while (!version.empty() && std::isspace(static_cast<unsigned char>(version.back())) != 0) {
    version.pop_back();
  }
  return version.substr(version.find_last_of(" \n") + 1);
}

}  // namespace

absl::Status CheckExecutable(std::string_view head) {
  Elf64_Ehdr header{};
  if (head.size() < sizeof(header) || std::memcmp(head.data(), ELFMAG, SELFMAG) != 0) {
    return Refuse("VERSION_MISMATCH", "is not an executable of Linux");
  }
  std::memcpy(&header, head.data(), sizeof(header));
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != kMachine) {
    return Refuse("VERSION_MISMATCH", "is made for another processor than this host's");
  }
  return absl::OkStatus();
}

ComponentStore::ComponentStore(ShimHome home) : home_(std::move(home)) {}

ComponentStore::~ComponentStore() {
  for (const auto& [component, incoming] : incoming_) ::unlink(PartPath(component).c_str());
}

std::string ComponentStore::PartPath(v1::Component component) const {
  return fmt::format("{}/.arriving-{}", home_.Programs(), static_cast<int>(component));
}

v1::ComponentStatus ComponentStore::Receive(const v1::ComponentChunk& chunk) {
  v1::ComponentStatus status;
  *status.mutable_component() = chunk.component();
  const absl::Status taken = Take(chunk, &status);
  if (taken.ok()) return status;
  const v1::Component component = chunk.component().component();
  if (incoming_.erase(component) > 0) ::unlink(PartPath(component).c_str());
  status.set_state(v1::COMPONENT_STATE_REFUSED);
  status.set_received_bytes(0);
  const std::string reason = base::Reason(taken);
  status.set_reason(reason.empty() ? "INTERNAL" : reason);
  status.set_message(std::string(base::Message(taken)));
  return status;
}

absl::Status ComponentStore::Take(const v1::ComponentChunk& chunk, v1::ComponentStatus* status) {
  RETURN_IF_ERROR(CheckChunk(chunk));
  const v1::Component component = chunk.component().component();
  const std::string& sha256 = chunk.component().sha256();
  if (base::Exists(ComponentPath(home_, component, Digits(sha256)))) {
    status->set_state(v1::COMPONENT_STATE_STAGED);
    status->set_received_bytes(chunk.total_bytes());
    return absl::OkStatus();
  }
  if (chunk.offset() == 0) RETURN_IF_ERROR(Begin(chunk));
  const auto it = incoming_.find(component);
  const bool follows = it != incoming_.end() && it->second.sha256 == sha256 &&
                       it->second.received_bytes == chunk.offset() &&
                       it->second.total_bytes == chunk.total_bytes();
  if (!follows) {
    return Refuse("INVALID_STATE",
                  fmt::format("the chunk at {} does not follow what arrived", chunk.offset()));
  }
  Incoming& incoming = it->second;
  if (chunk.data().size() > incoming.total_bytes - incoming.received_bytes) {
    return Refuse("TOO_LARGE", "there are more bytes than announced");
  }
  RETURN_IF_ERROR(
      base::Annotate(base::WriteAll(incoming.file.get(), chunk.data()), "{}", PartPath(component)));
  incoming.hash.Update(chunk.data());
  incoming.received_bytes += chunk.data().size();
  status->set_received_bytes(incoming.received_bytes);
  status->set_state(v1::COMPONENT_STATE_RECEIVING);
  if (incoming.received_bytes < incoming.total_bytes) return absl::OkStatus();
  RETURN_IF_ERROR(Complete(component, &incoming));
  incoming_.erase(it);
  status->set_state(v1::COMPONENT_STATE_STAGED);
  return absl::OkStatus();
}

absl::Status ComponentStore::Begin(const v1::ComponentChunk& chunk) {
  const v1::Component component = chunk.component().component();
  if (component != v1::COMPONENT_SSH) RETURN_IF_ERROR(CheckExecutable(chunk.data()));
  RETURN_IF_ERROR(base::MakeDirs(home_.Programs(), 0700));
  const std::string path = PartPath(component);
  ::unlink(path.c_str());
  Incoming incoming{.sha256 = chunk.component().sha256(), .total_bytes = chunk.total_bytes()};
  incoming.file.reset(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0700));
  if (!incoming.file) return base::ErrnoError(errno, path);
  incoming_.insert_or_assign(component, std::move(incoming));
  return absl::OkStatus();
}

absl::Status ComponentStore::Complete(v1::Component component, Incoming* incoming) {
  const std::string path = PartPath(component);
  if (incoming->hash.FinishHex() != incoming->sha256) {
    return base::Error(absl::StatusCode::kInvalidArgument,
                       "DIGEST_MISMATCH",
                       "what arrived has another digest than announced");
  }
  if (::fsync(incoming->file.get()) != 0) return base::ErrnoError(errno, path);
  // Closed for writing, or it could not be executed.
  incoming->file.reset();
  const std::string digits = Digits(incoming->sha256);
  if (component == v1::COMPONENT_SSH) {
    absl::Status unpacked = UnpackSsh(path, digits);
    ::unlink(path.c_str());
    return unpacked;
  }
  const std::string target = ComponentPath(home_, component, digits);
  // The process runtime's jobs may belong to other users.
  if (::chmod(path.c_str(), 0755) != 0) return base::ErrnoError(errno, path);
  if (::rename(path.c_str(), target.c_str()) != 0) return base::ErrnoError(errno, target);
  return base::SyncDir(home_.Programs());
}

absl::Status ComponentStore::UnpackSsh(const std::string& archive,
                                       const std::string& digits) const {
  const std::string target = ComponentPath(home_, v1::COMPONENT_SSH, digits);
  const std::string directory = target + ".new";
  RETURN_IF_ERROR(base::RemoveAll(directory));
  RETURN_IF_ERROR(base::MakeDirs(directory, 0755));
  const auto unpacked =
      process::RunChecked({"tar", "-xf", archive, "-C", directory}, kUnpackTimeout);
  if (!unpacked.ok()) {
    static_cast<void>(base::RemoveAll(directory).ok());
    return base::Annotate(unpacked.status(), "unpacking the ssh bundle");
  }
  if (::rename(directory.c_str(), target.c_str()) != 0) return base::ErrnoError(errno, target);
  return base::SyncDir(home_.root());
}

absl::StatusOr<AgentSet> ComponentStore::Check(const v1::ActivateCommand& command) const {
  AgentSet agents;
  for (const v1::ComponentDigest& digest : command.components()) {
    const std::string digits = Digits(digest.sha256());
    const std::string path = ComponentPath(home_, digest.component(), digits);
    if (DigitsOfPath(path).empty()) {
      return base::InvalidField("components.sha256", "must be 64 hexadecimal digits");
    }
    if (!base::Exists(path)) return Refuse("INVALID_STATE", path + " has not arrived");
    if (digest.component() == v1::COMPONENT_SHIM) agents.shim = digits;
    if (digest.component() == v1::COMPONENT_RUNNER) agents.runner = digits;
    if (digest.component() == v1::COMPONENT_SSH) agents.ssh = digits;
  }
  if (agents.shim.empty() || agents.runner.empty()) {
    return base::InvalidField("components", "must name a shim and a runner");
  }
  ASSIGN_OR_RETURN(const std::string shim,
                   VersionOf(ComponentPath(home_, v1::COMPONENT_SHIM, agents.shim)));
  ASSIGN_OR_RETURN(const std::string runner,
                   VersionOf(ComponentPath(home_, v1::COMPONENT_RUNNER, agents.runner)));
  if (shim != runner) {
    return Refuse("VERSION_MISMATCH",
                  fmt::format("the shim is of version {}, the runner of {}", shim, runner));
  }
  return agents;
}

void ComponentStore::RemoveOthers(const std::vector<AgentSet>& kept) const {
  std::vector<std::string> keep;
  for (const AgentSet& agents : kept) {
    for (const std::string& digits : {agents.shim, agents.runner, agents.ssh}) {
      if (!digits.empty()) keep.push_back(digits);
    }
  }
  // What the host begins with after a reboot, before the release file has its say.
  const std::string start = base::ReadFile(home_.StartScript()).value_or("");
  std::error_code error;
  for (const std::string& directory : {home_.Programs(), home_.root()}) {
    for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
      const std::string name = entry.path().filename().string();
      const std::string digits = DigitsOfPath(name);
      const bool is_ours =
          !digits.empty() && (name.starts_with("dstack-shim-") ||
                              name.starts_with("dstack-runner-") || name.starts_with("ssh-"));
      const bool is_kept = std::find(keep.begin(), keep.end(), digits) != keep.end() ||
                           start.find(name) != std::string::npos;
      if (!is_ours || is_kept) continue;
      const absl::Status removed = base::RemoveAll(entry.path().string());
      telemetry::Info("an old component is deleted", {{"file", name}, {"status", removed}});
    }
  }
}

}  // namespace dstack::shim
