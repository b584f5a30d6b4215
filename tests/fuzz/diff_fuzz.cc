// A diff of a job, applied by the bundled git: whatever it holds, nothing changes outside the
// repository nor in its .git, and what is written is files, directories and links. An input that
// begins like a diff is one; any other is a list of choices for WriteDiff.
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include <absl/strings/match.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/git_url.h"
#include "services/runner/repo/diff.h"
#include "services/runner/repo/git.h"
#include "services/runner/repo/tool.h"
#include "tests/fuzz/diff_writer.h"
#include "tests/fuzz/fuzz.h"

namespace {

namespace fs = std::filesystem;
using dstack::runner::Git;

// What tells a changed file, by path.
using Snapshot = std::map<std::string, std::string>;

// <build>/<fuzz-bin or test-bin>/program
std::string BundleDir() {
  const fs::path program = fs::read_symlink("/proc/self/exe");
  return program.parent_path().parent_path() / "share/dstack/ssh-bundle";
}

dstack::runner::Places OwnPlaces() {
  dstack::runner::Places places;
  places.user = {.uid = geteuid(), .gid = getegid(), .groups = {}, .name = "own", .home = "/"};
  places.can_switch = false;
  return places;
}

void Write(const std::string& path, std::string_view content) {
  FUZZ_CHECK(dstack::base::MakeDirs(fs::path(path).parent_path()).ok());
  FUZZ_CHECK(dstack::base::WriteFileAtomic(path, content).ok());
}

// Any change of a file, its owner or permissions changes one of these.
std::string Describe(const fs::directory_entry& entry) {
  struct stat info {};
  FUZZ_CHECK(lstat(entry.path().c_str(), &info) == 0);
  return fmt::format("{} {:o} {} {}.{:09}",
                     info.st_ino,
                     info.st_mode,
                     info.st_size,
                     info.st_ctim.tv_sec,
                     info.st_ctim.tv_nsec);
}

// A repository that is made anew for each diff, with a directory beside it that no diff may reach.
class Scratch {
 public:
  Scratch() : root_((fs::temp_directory_path() / "dstack-fuzz-XXXXXX").string()) {
    FUZZ_CHECK(mkdtemp(root_.data()) != nullptr);
    git_.emplace(Git::Settings{.bundle_dir = BundleDir(),
                               .work_dir = root_ + "/git",
                               .repo_dir = work(),
                               .proxies = {},
                               .progress = [](const std::string&) {},
                               .stop = {}},
                 url_,
                 places_);
    Write(root_ + "/outside/kept", "kept\n");
    const std::string pattern = root_ + "/pattern";
    for (const auto& file : dstack::fuzz::kKnownFiles) {
      Write(pattern + "/" + std::string(file.path), file.content);
    }
    for (const auto& link : dstack::fuzz::kKnownLinks) {
      fs::create_symlink(link.content, pattern + "/" + std::string(link.path));
    }
    Write(pattern + "/sub/file", "of a submodule\n");
    FUZZ_CHECK(git_->Prepare({}).ok());
    for (const std::string& repository : {pattern, pattern + "/sub"}) {
      FUZZ_CHECK(git_->Run({"init", "--quiet"}, repository).ok());
    }
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    git_.reset();
    dstack::base::RemoveAll(root_).IgnoreError();
  }

  std::string outside() const { return root_ + "/outside"; }
  std::string work() const { return root_ + "/work"; }

  void Reset() const {
    FUZZ_CHECK(dstack::base::RemoveAll(work()).ok());
    fs::copy(
        root_ + "/pattern", work(), fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  }

  absl::Status Apply(std::string diff) { return dstack::runner::ApplyDiff(*git_, std::move(diff)); }

  // Everything here but what a diff may change.
  Snapshot Untouchable() const {
    Snapshot all;
    for (auto entry = fs::recursive_directory_iterator(root_);
         entry != fs::recursive_directory_iterator();
         ++entry) {
      const std::string path = entry->path();
      const bool is_ours = absl::StartsWith(path, work());
      const bool is_git = absl::StrContains(path, "/.git/") || absl::EndsWith(path, "/.git");
      if (!is_ours || is_git) all[path] = Describe(*entry);
    }
    return all;
  }

 private:
  const dstack::base::GitUrl url_ = dstack::base::ParseGitUrl("https://localhost/r").value();
  const dstack::runner::Places places_ = OwnPlaces();
  std::string root_;
  std::optional<Git> git_;
};

// One for the process: most of an input's time would go into making it.
Scratch& TheScratch() {
  static Scratch scratch;
  return scratch;
}

void CheckKinds(const std::string& work) {
  for (auto entry = fs::recursive_directory_iterator(work);
       entry != fs::recursive_directory_iterator();
       ++entry) {
    const fs::file_status status = entry->symlink_status();
    FUZZ_CHECK(fs::is_regular_file(status) || fs::is_directory(status) || fs::is_symlink(status));
    constexpr auto kSpecial = fs::perms::set_uid | fs::perms::set_gid | fs::perms::sticky_bit;
    FUZZ_CHECK((status.permissions() & kSpecial) == fs::perms::none);
  }
}

}  // namespace

// The links that lead to the bundle's git are links to this program.
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  if (const auto status = dstack::runner::RunAsTool(*argc, *argv)) _exit(*status);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const dstack::fuzz::Measured measured;
  Scratch& scratch = TheScratch();
  const std::string_view text = dstack::fuzz::Text(data, size);
  const bool is_diff = text.starts_with("diff ") || text.starts_with("--- ");
  scratch.Reset();
  const Snapshot before = scratch.Untouchable();
  const absl::Status applied =
      scratch.Apply(is_diff ? std::string(text) : dstack::fuzz::WriteDiff(text, scratch.outside()));
  FUZZ_CHECK(scratch.Untouchable() == before);
  FUZZ_CHECK(applied.ok() || !applied.message().empty());
  CheckKinds(scratch.work());
  return 0;
}
