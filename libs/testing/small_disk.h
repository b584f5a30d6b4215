#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "libs/testing/temp_dir.h"

namespace dstack::testing {

// A file system of its own (tmpfs) that can be filled to the last byte.
class SmallDisk {
 public:
  // Null, with the reason printed as a skip, where this process may not mount.
  static std::unique_ptr<SmallDisk> Make(std::uint64_t bytes);
  // Unmounts it, also when something is still open there.
  ~SmallDisk();
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  const std::string& path() const { return dir_.path(); }
  std::string Path(std::string_view name) const { return dir_.Path(name); }
  // Nothing can be written after this, until MakeRoom().
  void Fill();
  void MakeRoom();

 private:
  SmallDisk() = default;

  TempDir dir_;
};

}  // namespace dstack::testing
