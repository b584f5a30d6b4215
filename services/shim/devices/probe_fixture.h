#pragma once

#include <filesystem>
#include <string>

#include <catch2/catch.hpp>

#include "libs/base/file.h"
#include "libs/testing/temp_dir.h"
#include "services/shim/ports/device_probe.h"

namespace dstack::shim {

// A made-up root directory.
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
  testing::TempDir dir_;
};

// What a probe finds that has to work.
inline DeviceList Found(DeviceProbe&& probe) {
  auto found = probe.Find({});
  INFO(found.status());
  REQUIRE(found.ok());
  return *found;
}

}  // namespace dstack::shim
