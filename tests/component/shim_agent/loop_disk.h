#pragma once

#include <chrono>
#include <fstream>
#include <memory>
#include <string>

#include <catch2/catch.hpp>
#include <unistd.h>

#include "libs/process/subprocess.h"
#include "libs/testing/await.h"
#include "libs/testing/temp_dir.h"

namespace dstack::shim {

// A disk of zeros.
class LoopDisk {
 public:
  // False, with the reason printed, when this machine gives none.
  static bool CanMount() {
    const auto made = LoopDisk::Make(1 << 20);
    if (made) return true;
    testing::Skip("kernel: no loop devices (CAP_SYS_ADMIN and /dev/loop-control are needed)");
    return false;
  }
  // Its bytes are kept in this directory; empty: in one that goes with the object.
  static std::unique_ptr<LoopDisk> Make(off_t bytes, const std::string& directory = "") {
    std::unique_ptr<LoopDisk> disk(new LoopDisk(directory));
    std::ofstream(disk->image()).flush();
    REQUIRE(::truncate(disk->image().c_str(), bytes) == 0);
    if (!disk->Attach()) return nullptr;
    return disk;
  }
  ~LoopDisk() { Detach(); }

  bool Attach() {
    const auto device =
        process::RunChecked({"losetup", "-f", "--show", "--", image()}, std::chrono::seconds(20));
    if (!device.ok()) return false;
    device_ = device->substr(0, device->find('\n'));
    return true;
  }
  void Detach() {
    if (!device_.empty()) {
      static_cast<void>(
          process::RunChecked({"losetup", "-d", device_}, std::chrono::seconds(20)).ok());
    }
    device_.clear();
  }
  void Grow(off_t bytes) {
    Detach();
    REQUIRE(::truncate(image().c_str(), bytes) == 0);
    REQUIRE(Attach());
  }
  const std::string& image() const { return image_; }
  const std::string& device() const { return device_; }

 private:
  explicit LoopDisk(const std::string& directory)
      : image_((directory.empty() ? dir_.path() : directory) + "/image") {}

  testing::TempDir dir_;
  const std::string image_;
  std::string device_;
};

}  // namespace dstack::shim
