#pragma once

#include <filesystem>
#include <string>

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "libs/testing/temp_dir.h"

namespace dstack::testing {

// A made-up root directory: what code reads below /sys, /proc and /dev, at paths that begin with
// "/". Gone with the object.
class FakeRoot {
 public:
  std::string path() const { return dir_.path(); }
  void Write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(dir_.path() + path).parent_path());
    REQUIRE(base::WriteFileAtomic(dir_.path() + path, text).ok());
  }
  void Link(const std::string& path, const std::string& target) const {
    std::filesystem::create_directories(std::filesystem::path(dir_.path() + path).parent_path());
    std::filesystem::create_symlink(target, dir_.path() + path);
  }

 private:
  TempDir dir_;
};

}  // namespace dstack::testing
