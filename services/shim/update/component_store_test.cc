#include "services/shim/update/component_store.h"

#include <string>

#include <catch2/catch.hpp>

#include "libs/base/status.h"
#include "libs/process/subprocess.h"
#include "libs/testing/temp_dir.h"

namespace dstack::shim {
namespace {

std::string Executable() {
  // The test itself: surely for this processor.
  return base::ReadFile("/proc/self/exe", std::size_t{512} << 20).value_or("").substr(0, 4096);
}

v1::ComponentChunk MakeChunk(v1::Component component,
                             const std::string& whole,
                             std::size_t offset,
                             std::size_t size) {
  v1::ComponentChunk chunk;
  chunk.mutable_component()->set_component(component);
  chunk.mutable_component()->set_sha256(base::Sha256Hex(whole));
  chunk.set_total_bytes(whole.size());
  chunk.set_offset(offset);
  chunk.set_data(whole.substr(offset, size));
  return chunk;
}

struct Fixture {
  testing::TempDir dir;
  ShimHome home{dir.path()};
  ComponentStore store{home};
};

TEST_CASE("chunks become a file with the digest in its name") {
  Fixture f;
  const std::string whole = Executable();
  auto status = f.store.Receive(MakeChunk(v1::COMPONENT_SHIM, whole, 0, 1000));
  INFO(status.message());
  CHECK(status.state() == v1::COMPONENT_STATE_RECEIVING);
  CHECK(status.received_bytes() == 1000);
  status = f.store.Receive(MakeChunk(v1::COMPONENT_SHIM, whole, 1000, whole.size()));
  CHECK(status.state() == v1::COMPONENT_STATE_STAGED);
  const std::string path =
      ComponentPath(f.home, v1::COMPONENT_SHIM, base::Sha256Hex(whole).substr(0, kDigestDigits));
  CHECK(base::ReadFile(path).value_or("") == whole);
  // Again: it is there.
  CHECK(f.store.Receive(MakeChunk(v1::COMPONENT_SHIM, whole, 0, 1000)).state() ==
        v1::COMPONENT_STATE_STAGED);
}

TEST_CASE("bad chunks are refused with a reason and leave nothing") {
  Fixture f;
  const std::string whole = Executable();
  const auto reason_of = [&](const v1::ComponentChunk& chunk) {
    const v1::ComponentStatus status = f.store.Receive(chunk);
    CHECK(status.state() == v1::COMPONENT_STATE_REFUSED);
    CHECK_FALSE(status.message().empty());
    return status.reason();
  };
  auto chunk = MakeChunk(v1::COMPONENT_SHIM, whole, 0, 4096);
  chunk.mutable_component()->set_sha256(std::string(64, 'a'));
  CHECK(reason_of(chunk) == "DIGEST_MISMATCH");
  chunk.mutable_component()->set_sha256("../../etc/passwd");
  CHECK(reason_of(chunk) == "INVALID_FIELDS");
  chunk = MakeChunk(v1::COMPONENT_UNSPECIFIED, whole, 0, 10);
  CHECK(reason_of(chunk) == "INVALID_FIELDS");
  chunk = MakeChunk(v1::COMPONENT_SHIM, whole, 0, 4096);
  chunk.set_total_bytes(1ULL << 40);
  CHECK(reason_of(chunk) == "TOO_LARGE");
  chunk.set_total_bytes(10);
  CHECK(reason_of(chunk) == "TOO_LARGE");
  // In the middle of nothing, and a gap.
  CHECK(reason_of(MakeChunk(v1::COMPONENT_SHIM, whole, 100, 10)) == "INVALID_STATE");
  f.store.Receive(MakeChunk(v1::COMPONENT_SHIM, whole, 0, 1000));
  CHECK(reason_of(MakeChunk(v1::COMPONENT_SHIM, whole, 2000, 10)) == "INVALID_STATE");
  CHECK(reason_of(MakeChunk(v1::COMPONENT_SHIM, "#!/bin/sh\n", 0, 10)) == "VERSION_MISMATCH");
  CHECK_FALSE(base::Exists(f.home.Programs() + "/.arriving-1"));
}

TEST_CASE("an executable for another processor is refused") {
  std::string head = Executable();
  CHECK(CheckExecutable(head).ok());
  head[18] = 0x03;  // e_machine: 386
  CHECK(base::Reason(CheckExecutable(head)) == "VERSION_MISMATCH");
  CHECK_FALSE(CheckExecutable("\x7f"
                              "ELF")
                  .ok());
}

TEST_CASE("the ssh bundle is unpacked") {
  Fixture f;
  REQUIRE(base::MakeDirs(f.dir.Path("in/bin")).ok());
  REQUIRE(base::WriteFileAtomic(f.dir.Path("in/bin/sshd"), "x", 0755).ok());
  const auto tar = process::RunChecked({"tar", "-C", f.dir.Path("in"), "-cf", "-", "."},
                                       std::chrono::seconds(20));
  REQUIRE(tar.ok());
  const auto status = f.store.Receive(MakeChunk(v1::COMPONENT_SSH, *tar, 0, tar->size()));
  INFO(status.message());
  CHECK(status.state() == v1::COMPONENT_STATE_STAGED);
  const std::string digits = base::Sha256Hex(*tar).substr(0, kDigestDigits);
  CHECK(base::Exists(ComponentPath(f.home, v1::COMPONENT_SSH, digits) + "/bin/sshd"));
}

TEST_CASE("what is to run must be here, start, and be of one version") {
  Fixture f;
  REQUIRE(base::MakeDirs(f.home.Programs()).ok());
  const auto put = [&](v1::Component component, const char* digits, const std::string& script) {
    REQUIRE(base::WriteFileAtomic(
                ComponentPath(f.home, component, digits), "#!/bin/sh\n" + script + "\n", 0755)
                .ok());
  };
  put(v1::COMPONENT_SHIM, "111111111111", "echo 2.0.0");
  put(v1::COMPONENT_RUNNER, "222222222222", "echo 2.0.0");
  put(v1::COMPONENT_RUNNER, "333333333333", "echo 1.0.0");
  put(v1::COMPONENT_RUNNER, "444444444444", "exit 1");
  const auto check = [&](const std::string& shim, const std::string& runner) {
    v1::ActivateCommand command;
    auto* first = command.add_components();
    first->set_component(v1::COMPONENT_SHIM);
    first->set_sha256(shim);
    if (runner.empty()) return f.store.Check(command);
    auto* second = command.add_components();
    second->set_component(v1::COMPONENT_RUNNER);
    second->set_sha256(runner);
    return f.store.Check(command);
  };
  const auto good = check("111111111111", "222222222222");
  INFO(good.status());
  REQUIRE(good.ok());
  CHECK(*good == AgentSet{.shim = "111111111111", .runner = "222222222222"});
  CHECK(base::Reason(check("111111111111", "333333333333").status()) == "VERSION_MISMATCH");
  CHECK(base::Reason(check("111111111111", "444444444444").status()) == "VERSION_MISMATCH");
  CHECK(base::Reason(check("111111111111", "555555555555").status()) == "INVALID_STATE");
  CHECK(base::Reason(check("111111111111", "").status()) == "INVALID_FIELDS");
  CHECK(base::Reason(check("../111111111", "222222222222").status()) == "INVALID_FIELDS");
}

TEST_CASE("old components go, except what the host begins with") {
  Fixture f;
  REQUIRE(base::MakeDirs(f.home.Programs()).ok());
  REQUIRE(base::MakeDirs(f.dir.Path("ssh-333333333333")).ok());
  for (const char* name : {"dstack-shim-111111111111",
                           "dstack-shim-222222222222",
                           "dstack-runner-444444444444",
                           "dstack-runner-555555555555",
                           "mine-666666666666"}) {
    REQUIRE(base::WriteFileAtomic(f.home.Programs() + "/" + name, "").ok());
  }
  REQUIRE(base::WriteFileAtomic(f.home.StartScript(), "exec x/bin/dstack-shim-111111111111").ok());
  f.store.RemoveOthers({{.shim = "222222222222", .runner = "444444444444"}});
  CHECK(base::Exists(f.home.Programs() + "/dstack-shim-111111111111"));
  CHECK(base::Exists(f.home.Programs() + "/dstack-shim-222222222222"));
  CHECK(base::Exists(f.home.Programs() + "/dstack-runner-444444444444"));
  CHECK_FALSE(base::Exists(f.home.Programs() + "/dstack-runner-555555555555"));
  CHECK(base::Exists(f.home.Programs() + "/mine-666666666666"));
  CHECK_FALSE(base::Exists(f.dir.Path("ssh-333333333333")));
}

}  // namespace
}  // namespace dstack::shim
