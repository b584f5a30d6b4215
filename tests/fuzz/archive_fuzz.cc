// An archive of a job: whatever it holds, nothing is written outside its destination, and nothing
// in it is more than a file, a directory or a link that stays inside.
#include <cstdlib>
#include <filesystem>
#include <string>

#include <sys/stat.h>

#include "libs/base/file.h"
#include "services/runner/archive/unpack.h"
#include "tests/fuzz/fuzz.h"

namespace {

namespace fs = std::filesystem;

// A directory that goes away with the process.
class Directory {
 public:
  Directory() : name_((fs::temp_directory_path() / "dstack-fuzz-XXXXXX").string()) {
    FUZZ_CHECK(mkdtemp(name_.data()) != nullptr);
    FUZZ_CHECK(dstack::base::MakeDirs(name_ + "/in").ok());
    FUZZ_CHECK(dstack::base::MakeDirs(name_ + "/outside").ok());
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() { dstack::base::RemoveAll(name_).IgnoreError(); }

  const std::string& name() const { return name_; }

 private:
  std::string name_;
};

// One for the process: most of an input's time would go into making it.
const std::string& Root() {
  static const Directory root;
  return root.name();
}

void CheckTree(const std::string& destination) {
  std::error_code error;
  for (auto entry = fs::recursive_directory_iterator(destination, error);
       !error && entry != fs::recursive_directory_iterator();
       entry.increment(error)) {
    const fs::file_status status = entry->symlink_status(error);
    FUZZ_CHECK(fs::is_regular_file(status) || fs::is_directory(status) || fs::is_symlink(status));
    struct stat info {};
    FUZZ_CHECK(lstat(entry->path().c_str(), &info) == 0);
    FUZZ_CHECK(fs::is_symlink(status) || (info.st_mode & (S_ISUID | S_ISGID | S_ISVTX)) == 0);
    if (!fs::is_symlink(status)) continue;
    const fs::path target = entry->path().parent_path() / fs::read_symlink(entry->path(), error);
    FUZZ_CHECK(target.lexically_normal().string().starts_with(destination));
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string archive = Root() + "/archive";
  const std::string destination = Root() + "/in/dest";
  FUZZ_CHECK(dstack::base::WriteFileAtomic(archive, dstack::fuzz::Text(data, size)).ok());
  dstack::runner::Unpack(archive, destination, std::nullopt).IgnoreError();
  CheckTree(destination);
  FUZZ_CHECK(fs::is_empty(Root() + "/outside"));
  FUZZ_CHECK(dstack::base::RemoveAll(destination).ok());
  FUZZ_CHECK(fs::is_empty(Root() + "/in"));
  return 0;
}
