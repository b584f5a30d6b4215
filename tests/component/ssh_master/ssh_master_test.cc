// ssh::Master against a real sshd.

#include <thread>

#include <catch2/catch.hpp>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/net/unix_socket.h"
#include "libs/process/alive.h"
#include "libs/ssh/master.h"
#include "libs/testing/await.h"
#include "libs/testing/mini_sshd.h"

namespace dstack::ssh {
namespace {

using namespace std::chrono_literals;

// Everything that one connection needs.
struct Fixture {
  testing::MiniSshd sshd;
  testing::TempDir dir;
  PipeWatcher watcher;
  base::Mutex mutex;
  std::vector<absl::Status> broken GUARDED_BY(mutex);

  MasterOptions Options() {
    MasterOptions options;
    options.host.hostname = "127.0.0.1";
    options.host.port = sshd.port();
    options.host.user = sshd.user();
    options.host.private_keys = {sshd.private_key()};
    options.directory = dir.Path("m");
    options.on_broken = [this](absl::Status status) {
      base::MutexLock lock(mutex);
      broken.push_back(std::move(status));
    };
    return options;
  }

  std::size_t BrokenCount() {
    base::MutexLock lock(mutex);
    return broken.size();
  }
};

std::string ReadAll(int fd) {
  std::string text;
  char buffer[256];
  while (true) {
    const auto n = base::ReadSome(fd, buffer, sizeof(buffer));
    if (!n.ok() || *n == 0) return text;
    text.append(buffer, *n);
  }
}

TEST_CASE("a master runs commands, feeds their input and tells their exit") {
  Fixture f;
  auto master = Master::Open(f.Options(), f.watcher);
  REQUIRE(master.status().ToString() == "OK");
  const auto echo = (*master)->Exec({"printf", "%s|", "it's", "$HOME", "a b\n"}, 10s);
  REQUIRE(echo.ok());
  CHECK(echo->stdout_text == "it's|$HOME|a b\n|");
  const std::string large(3'000'000, 'x');
  const auto count = (*master)->Exec({"wc", "-c"}, 10s, large);
  REQUIRE(count.ok());
  CHECK(count->stdout_text == "3000000\n");
  const auto failing = (*master)->Exec({"sh", "-c", "echo no >&2; exit 3"}, 10s);
  REQUIRE(failing.ok());
  CHECK(failing->exit.code == 3);
  CHECK(failing->stderr_text == "no\n");
  CHECK((*master)->host_key() == f.sshd.host_key());
  CHECK(f.BrokenCount() == 0);
}

TEST_CASE("a forward reaches a socket that is made later, and goes away") {
  Fixture f;
  auto master = Master::Open(f.Options(), f.watcher);
  REQUIRE(master.ok());
  const std::string remote = f.dir.Path("remote.sock");
  const auto local = (*master)->AddForward(remote);
  REQUIRE(local.status().ToString() == "OK");
  CHECK(*(*master)->AddForward(remote) == *local);

  auto listener = net::ListenUnix(remote);
  REQUIRE(listener.ok());
  std::jthread server([fd = listener->get()] {
    auto connection = net::Accept(fd);
    if (connection.ok()) static_cast<void>(base::WriteAll(connection->get(), "hello"));
  });
  auto client = net::ConnectUnix(*local);
  REQUIRE(client.ok());
  CHECK(ReadAll(client->get()) == "hello");

  (*master)->RemoveForward(remote);
  CHECK_FALSE(base::Exists(*local));
}

TEST_CASE("nothing stays behind") {
  Fixture f;
  pid_t pid = 0;
  {
    auto master = Master::Open(f.Options(), f.watcher);
    REQUIRE(master.ok());
    pid = (*master)->pid();
    CHECK(base::Exists(f.dir.Path("m/ctl")));
  }
  CHECK_FALSE(base::Exists(f.dir.Path("m")));
  CHECK_FALSE(process::IsAlive(pid));
}

TEST_CASE("W13 a recorded host key lets in, another one is refused with both fingerprints") {
  Fixture f;
  MasterOptions options = f.Options();
  options.host.host_key = f.sshd.host_key();
  REQUIRE(Master::Open(options, f.watcher).ok());

  const std::string recorded = *Fingerprint(f.sshd.host_key());
  f.sshd.ReplaceHostKey();
  const auto refused = Master::Open(options, f.watcher);
  CHECK(base::Reason(refused.status()) == "HOST_KEY_CHANGED");
  CHECK(
      base::Metadata(refused.status()) ==
      std::map<std::string, std::string>{{"recorded_fingerprint", recorded},
                                         {"offered_fingerprint", *Fingerprint(f.sshd.host_key())}});
}

TEST_CASE("a key that may not log in is an access error, and so is a broken one") {
  Fixture f;
  MasterOptions options = f.Options();
  options.host.private_keys = {GenerateKeyPair("other")->private_key};
  CHECK(Master::Open(options, f.watcher).status().code() == absl::StatusCode::kPermissionDenied);
  options.host.private_keys = {base::Secret("no key at all")};
  const auto broken = Master::Open(options, f.watcher);
  CHECK(broken.status().code() == absl::StatusCode::kPermissionDenied);
  CHECK_THAT(std::string(base::Message(broken.status())), Catch::Contains("cannot be used"));
  // The second key counts too.
  options.host.private_keys.push_back(f.sshd.private_key());
  CHECK(Master::Open(options, f.watcher).ok());
}

TEST_CASE("a host that is away is unreachable, and back after its return") {
  Fixture f;
  auto master = Master::Open(f.Options(), f.watcher);
  REQUIRE(master.ok());
  f.sshd.Kill();
  testing::Await(10s, [&] { return f.BrokenCount() == 1; });
  CHECK((*master)->state() == MasterState::kBroken);
  CHECK((*master)->Exec({"true"}, 10s).status().code() == absl::StatusCode::kUnavailable);
  CHECK((*master)->AddForward("/x").status().code() == absl::StatusCode::kUnavailable);
  const auto away = Master::Open(f.Options(), f.watcher);
  CHECK(base::Reason(away.status()) == "HOST_UNREACHABLE");
  f.sshd.Start();
  CHECK(Master::Open(f.Options(), f.watcher).ok());
}

TEST_CASE("W13 a silent host is given up in time, and a stop is obeyed at once") {
  Fixture f;
  f.sshd.Pause();
  MasterOptions options = f.Options();
  options.connect_timeout = 1s;
  options.open_timeout = 2s;
  const auto silent = Master::Open(options, f.watcher);
  CHECK(base::Reason(silent.status()) == "HOST_UNREACHABLE");

  options.connect_timeout = 60s;
  options.open_timeout = 60s;
  std::stop_source stop;
  std::jthread stopper([&] { stop.request_stop(); });
  CHECK(Master::Open(options, f.watcher, stop.get_token()).status().code() ==
        absl::StatusCode::kCancelled);
}

TEST_CASE("through a jump host") {
  Fixture f;
  MasterOptions options = f.Options();
  options.jump = options.host;
  options.jump->host_key = f.sshd.host_key();
  auto master = Master::Open(options, f.watcher);
  REQUIRE(master.status().ToString() == "OK");
  CHECK((*master)->Exec({"echo", "far"}, 10s)->stdout_text == "far\n");
}

}  // namespace
}  // namespace dstack::ssh
