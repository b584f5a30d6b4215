#pragma once

#include <string>
#include <string_view>

namespace dstack::testing {

// A fresh directory of mode 0700 that is removed with everything in it. Its path is short (below 20
// characters), because Unix socket paths end at 108 bytes. A failing constructor ends the process.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  // Path of `name` inside; nothing is made.
  std::string Path(std::string_view name) const;

 private:
  std::string path_;
};

}  // namespace dstack::testing
