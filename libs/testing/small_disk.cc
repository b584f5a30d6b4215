#include "libs/testing/small_disk.h"

#include <cerrno>
#include <cstring>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/testing/await.h"

namespace dstack::testing {
namespace {

constexpr char kFiller[] = "filler";
constexpr std::size_t kPieceBytes = 64 << 10;

}  // namespace

std::unique_ptr<SmallDisk> SmallDisk::Make(std::uint64_t bytes) {
  std::unique_ptr<SmallDisk> disk(new SmallDisk);
  const std::string options = fmt::format("size={},mode=0700", bytes);
  if (::mount("dstack-test", disk->path().c_str(), "tmpfs", 0, options.c_str()) == 0) return disk;
  Skip(fmt::format("kernel: no mount of a tmpfs ({})", std::strerror(errno)));  // NOLINT
  return nullptr;
}

SmallDisk::~SmallDisk() { ::umount2(path().c_str(), MNT_DETACH); }

void SmallDisk::Fill() {
  const base::UniqueFd fd(
      ::open(Path(kFiller).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  REQUIRE(fd);
  // Ends with the write that takes nothing.
  const std::string piece(kPieceBytes, 'x');
  while (base::WriteAll(fd.get(), piece).ok()) {
  }
}

void SmallDisk::MakeRoom() { REQUIRE(::unlink(Path(kFiller).c_str()) == 0); }

}  // namespace dstack::testing
