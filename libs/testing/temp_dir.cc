#include "libs/testing/temp_dir.h"

#include <cstdio>
#include <cstdlib>

#include "libs/base/file.h"

namespace dstack::testing {

TempDir::TempDir() : path_("/tmp/dt-XXXXXX") {
  if (mkdtemp(path_.data()) == nullptr) {
    std::perror("making a temporary directory");
    std::abort();
  }
}

TempDir::~TempDir() {
  // A leftover directory must not turn a passed test into a failed one.
  (void)base::RemoveAll(path_);
}

std::string TempDir::Path(std::string_view name) const { return base::JoinPath(path_, name); }

}  // namespace dstack::testing
