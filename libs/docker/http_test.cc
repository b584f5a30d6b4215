#include "libs/docker/http.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>

#include <catch2/catch.hpp>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libs/docker/client.h"
#include "libs/docker/containers.h"
#include "libs/docker/images.h"
#include "libs/testing/await.h"
#include "libs/testing/temp_dir.h"

namespace dstack::docker {
namespace {

using namespace std::chrono_literals;

// Accepts connections on a Unix socket; reads what comes and answers each with a fixed text, or
// says nothing when the text is empty.
class FakeEngine {
 public:
  explicit FakeEngine(std::string answer) : answer_(std::move(answer)) {
    listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{.sun_family = AF_UNIX};
    std::strncpy(address.sun_path, path().c_str(), sizeof(address.sun_path) - 1);
    REQUIRE(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    REQUIRE(::listen(listener_, 64) == 0);
    thread_ = std::thread([this] { Serve(); });
  }
  ~FakeEngine() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    for (const int fd : connections_) ::close(fd);
    ::close(listener_);
  }

  std::string path() const { return dir_.Path("engine.sock"); }
  Endpoint endpoint() const { return {.socket_path = path()}; }
  int accepted() const { return accepted_; }

 private:
  void Serve() {
    while (true) {
      const int fd = ::accept(listener_, nullptr, nullptr);
      if (fd < 0) return;
      connections_.push_back(fd);
      ++accepted_;
      if (answer_.empty()) continue;
      char buffer[4096];
      if (::read(fd, buffer, sizeof(buffer)) <= 0) continue;
      if (::write(fd, answer_.data(), answer_.size()) < 0) continue;
      ::shutdown(fd, SHUT_WR);
    }
  }

  testing::TempDir dir_;
  std::string answer_;
  int listener_ = -1;
  std::atomic<int> accepted_ = 0;
  std::vector<int> connections_;
  std::thread thread_;
};

std::string Answer(int code, const std::string& body) {
  return "HTTP/1.1 " + std::to_string(code) +
         " X\r\nContent-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" +
         body;
}

TEST_CASE("an answer comes back with its code") {
  FakeEngine engine(Answer(404, "{\"message\":\"gone\"}"));
  const auto response = Perform(engine.endpoint(), {.path = "/x"}, {});
  REQUIRE(response.ok());
  CHECK(response->status_code == 404);
  CHECK(response->body == "{\"message\":\"gone\"}");
  const Client client(engine.endpoint(), "1.41");
  CHECK(client.Call({.path = "/x"}, {}).status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("no engine is UNAVAILABLE and names the endpoint") {
  testing::TempDir dir;
  const Endpoint endpoint{.socket_path = dir.Path("none.sock")};
  const absl::Status status = Client::Connect(endpoint).status();
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(std::string(status.message()).find("none.sock") != std::string::npos);
}

TEST_CASE("an engine that is too old or none at all is refused") {
  FakeEngine old(Answer(200, R"({"ApiVersion":"1.24"})"));
  CHECK(Client::Connect(old.endpoint()).status().code() == absl::StatusCode::kFailedPrecondition);
  FakeEngine other(Answer(200, "hello"));
  CHECK(Client::Connect(other.endpoint()).status().code() == absl::StatusCode::kFailedPrecondition);
  FakeEngine newer(Answer(200, R"({"ApiVersion":"1.99"})"));
  CHECK(Client::Connect(newer.endpoint())->api_version() == "1.43");
  FakeEngine ours(Answer(200, R"({"ApiVersion":"1.41"})"));
  CHECK(Client::Connect(ours.endpoint())->api_version() == "1.41");
}

TEST_CASE("limits and cancellation end a silent call") {
  FakeEngine engine("");
  CHECK(Perform(engine.endpoint(), {.path = "/x", .timeout = 20ms}, {}).status().code() ==
        absl::StatusCode::kDeadlineExceeded);
  CHECK(
      Perform(engine.endpoint(), {.path = "/x", .timeout = std::nullopt, .idle_timeout = 20ms}, {})
          .status()
          .code() == absl::StatusCode::kDeadlineExceeded);

  std::stop_source stop;
  std::jthread canceller([&, before = engine.accepted()] {
    while (engine.accepted() == before) std::this_thread::yield();
    stop.request_stop();
  });
  const auto start = std::chrono::steady_clock::now();
  const auto response =
      Perform(engine.endpoint(), {.path = "/x", .timeout = std::nullopt}, stop.get_token());
  CHECK(response.status().code() == absl::StatusCode::kCancelled);
  CHECK(std::chrono::steady_clock::now() - start < 500ms);
}

TEST_CASE("a pull without its last line is no success") {
  FakeEngine engine(Answer(200, "{\"status\":\"Pulling fs layer\",\"id\":\"a\"}\n"));
  const Client client(engine.endpoint(), "1.41");
  int lines = 0;
  const absl::Status status = PullImage(
      client, {.reference = "x:1", .on_progress = [&](const PullTracker&) { ++lines; }}, {});
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(lines == 1);
}

TEST_CASE("the registry's refusals keep their meaning") {
  FakeEngine denied(Answer(500, R"({"message":"pull access denied for x"})"));
  CHECK(PullImage(Client(denied.endpoint(), "1.41"), {.reference = "x:1"}, {}).code() ==
        absl::StatusCode::kPermissionDenied);
  FakeEngine full(Answer(200, "{\"error\":\"write /x: no space left on device\"}\n"));
  CHECK(PullImage(Client(full.endpoint(), "1.41"), {.reference = "x:1"}, {}).code() ==
        absl::StatusCode::kResourceExhausted);
}

TEST_CASE("long calls share one thread and end with their client") {
  FakeEngine engine("");
  std::atomic<int> cancelled = 0;
  {
    const Client client(engine.endpoint(), "1.41");
    for (int i = 0; i < 20; ++i) {
      WaitContainer(client, "id", [&](const absl::StatusOr<int>& code) {
        if (absl::IsCancelled(code.status())) ++cancelled;
      });
    }
    testing::Await(5s, [&] { return engine.accepted() == 20; });
    CHECK(cancelled == 0);
  }
  CHECK(cancelled == 20);
}

TEST_CASE("a wait gives the exit code") {
  FakeEngine engine(Answer(200, R"({"Error":null,"StatusCode":3})"));
  const Client client(engine.endpoint(), "1.41");
  std::atomic<int> seen = -1;
  WaitContainer(client, "id", [&](const absl::StatusOr<int>& code) { seen = code.value_or(-2); });
  testing::Await(5s, [&] { return seen == 3; });
}

}  // namespace
}  // namespace dstack::docker
