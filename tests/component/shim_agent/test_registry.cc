#include "tests/component/shim_agent/test_registry.h"

#include <chrono>
#include <fstream>

#include <absl/strings/escaping.h>
#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libs/base/file.h"
#include "libs/base/random.h"
#include "libs/base/sha256.h"
#include "libs/docker/images.h"
#include "libs/net/free_port.h"
#include "libs/testing/await.h"
#include "libs/testing/paths.h"

namespace dstack::shim {
namespace {

using namespace std::chrono_literals;

constexpr char kManifestType[] = "application/vnd.docker.distribution.manifest.v2+json";
constexpr std::size_t kLayerBytes = 4 << 20;
constexpr int kSlowPieces = 16;
constexpr auto kSlowPause = 200ms;

bool Answers(std::uint16_t port) {
  const base::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
}

void SendAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (count <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(count));
  }
}

std::string Http(int code,
                 const std::string& type,
                 const std::string& body,
                 const std::string& more = "") {
  return fmt::format(
      "HTTP/1.1 {} X\r\nDocker-Distribution-Api-Version: registry/2.0\r\nContent-Type: {}\r\n"
      "Content-Length: {}\r\nConnection: close\r\n{}\r\n{}",
      code,
      type,
      body.size(),
      more,
      body);
}

}  // namespace

std::unique_ptr<RealRegistry> RealRegistry::Start() {
  if (!process::FindProgram("docker-registry").ok() || !process::FindProgram("htpasswd").ok()) {
    testing::Skip(
        "there is no docker-registry or htpasswd (packages docker-registry, apache2-utils)");
    return nullptr;
  }
  std::unique_ptr<RealRegistry> registry(new RealRegistry);
  const auto port = net::FreePort();
  REQUIRE(port.ok());
  registry->port_ = *port;
  const std::string& dir = registry->dir_.path();
  const auto users = process::RunChecked({"htpasswd", "-Bbn", kUser, kPassword}, 20s);
  REQUIRE(users.ok());
  std::ofstream(dir + "/users") << *users;
  std::ofstream(dir + "/config.yml")
      << fmt::format(
             "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n"
             "http: {{addr: '127.0.0.1:{}'}}\nauth: {{htpasswd: {{realm: r, path: {}/users}}}}\n",
             dir,
             *port,
             dir);
  auto process = process::Subprocess::Start({"docker-registry", "serve", dir + "/config.yml"});
  REQUIRE(process.ok());
  registry->process_.emplace(*std::move(process));
  testing::Await(20s, [&] { return Answers(*port); });
  return registry;
}

RealRegistry::~RealRegistry() {
  if (process_) static_cast<void>(process_->Terminate(5s).ok());
}

std::string RealRegistry::host() const { return fmt::format("127.0.0.1:{}", port_); }

void RealRegistry::Push(const docker::Client& engine,
                        const std::string& image,
                        const std::string& name) const {
  const std::string repository = docker::UrlEscape(host() + "/" + name);
  const auto tagged = engine.Call(
      {.method = docker::Method::kPost,
       .path = fmt::format(
           "/images/{}/tag?repo={}&tag=1", docker::UrlEscape(image), repository)},
      {});
  INFO(tagged.status());
  REQUIRE(tagged.ok());
  const auto pushed = engine.Call(
      {.method = docker::Method::kPost,
       .path = fmt::format("/images/{}/push?tag=1", repository),
       .headers = {"X-Registry-Auth: " +
                   docker::RegistryAuthHeader({.username = kUser, .password = kPassword})},
       .timeout = 60s},
      {});
  INFO(pushed.status());
  REQUIRE(pushed.ok());
  INFO(pushed->body);
  REQUIRE(pushed->body.find("error") == std::string::npos);
  REQUIRE(docker::RemoveImage(engine, host() + "/" + name + ":1", {}).ok());
}

BadRegistry::BadRegistry() {
  MakeImage();
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  socklen_t size = sizeof(address);
  REQUIRE(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  port_ = ntohs(address.sin_port);
  REQUIRE(::listen(listener_, 64) == 0);
  acceptor_ = std::thread([this] { Accept(); });
}

BadRegistry::~BadRegistry() {
  is_ending_ = true;
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  {
    const std::lock_guard lock(mutex_);
    for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
  }
  for (std::thread& thread : threads_) thread.join();
  for (const int fd : open_) ::close(fd);
  ::close(listener_);
}

std::string BadRegistry::host() const { return fmt::format("127.0.0.1:{}", port_); }

int BadRegistry::requests(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto it = requests_.find(name);
  return it == requests_.end() ? 0 : it->second;
}

// One layer with one file that does not shrink.
void BadRegistry::MakeImage() {
  std::ofstream(dir_.Path("data"), std::ios::binary) << base::SecureRandomBytes(kLayerBytes);
  REQUIRE(process::RunChecked(
              {"tar", "-cf", dir_.Path("layer.tar"), "-C", dir_.path(), "data"}, 20s)
              .ok());
  const std::string diff = *base::Sha256HexOfFile(dir_.Path("layer.tar"));
  REQUIRE(process::RunChecked({"gzip", "-n", dir_.Path("layer.tar")}, 20s).ok());
  layer_ = *base::ReadFile(dir_.Path("layer.tar.gz"));
  layer_digest_ = "sha256:" + base::Sha256Hex(layer_);
  config_ = fmt::format(
      R"({{"architecture":"amd64","os":"linux","config":{{"Cmd":["/data"]}},)"
      R"("rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}})",
      diff);
  config_digest_ = "sha256:" + base::Sha256Hex(config_);
  manifest_ = fmt::format(
      R"({{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":)"
      R"("application/vnd.docker.container.image.v1+json","size":{},"digest":"{}"}},"layers":[)"
      R"({{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":{},)"
      R"("digest":"{}"}}]}})",
      kManifestType,
      config_.size(),
      config_digest_,
      layer_.size(),
      layer_digest_);
}

void BadRegistry::Accept() {
  while (true) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    const std::lock_guard lock(mutex_);
    open_.push_back(fd);
    threads_.emplace_back([this, fd] { Serve(fd); });
  }
}

void BadRegistry::Serve(int fd) {
  std::string request;
  char buffer[4096];
  while (request.find("\r\n\r\n") == request.npos) {
    const ssize_t count = ::recv(fd, buffer, sizeof(buffer), 0);
    // The engine tries TLS first; what it says then begins with this byte.
    constexpr char kTlsHandshake = 0x16;
    if (count <= 0 || buffer[0] == kTlsHandshake) {
      ::shutdown(fd, SHUT_RDWR);
      return;
    }
    request.append(buffer, static_cast<std::size_t>(count));
  }
  const std::size_t space = request.find(' ');
  const std::string method = request.substr(0, space);
  const std::string path = request.substr(space + 1, request.find(' ', space + 1) - space - 1);
  bool is_slow = false;
  std::string answer = Answer(method, path, &is_slow);
  if (answer.empty()) {
    // Silent until the end.
    while (::recv(fd, buffer, sizeof(buffer), 0) > 0) {
    }
    return;
  }
  if (method == "HEAD") answer.erase(answer.find("\r\n\r\n") + 4);
  const std::size_t piece = is_slow ? answer.size() / kSlowPieces + 1 : answer.size();
  for (std::size_t at = 0; at < answer.size() && !is_ending_; at += piece) {
    SendAll(fd, std::string_view(answer).substr(at, piece));
    // The pace of the registry is what is tested.
    if (is_slow) std::this_thread::sleep_for(kSlowPause);
  }
  ::shutdown(fd, SHUT_RDWR);
}

std::string BadRegistry::Answer(const std::string&, const std::string& path, bool* is_slow) {
  if (path == "/v2/") return Http(200, "application/json", "{}");
  const std::size_t end = path.find('/', 4);
  const std::string name = path.substr(4, end - 4);
  int count = 0;
  if (path.find("/manifests/") != path.npos) {
    const std::lock_guard lock(mutex_);
    count = ++requests_[name];
  }
  if (name == "limited") {
    return Http(
        429, "application/json", R"({"errors":[{"code":"TOOMANYREQUESTS","message":"x"}]})");
  }
  if (name == "broken") return Http(500, "text/plain", "oops");
  if (name == "forbidden") {
    return Http(403, "application/json", R"({"errors":[{"code":"DENIED","message":"no"}]})");
  }
  if (name == "missing") {
    return Http(
        404, "application/json", R"({"errors":[{"code":"MANIFEST_UNKNOWN","message":"none"}]})");
  }
  if (name == "silent") return "";
  // The engine asks twice for each try (HEAD, GET).
  if (name == "flaky" && count > 0 && count <= 4) return Http(500, "text/plain", "oops");
  if (path.find("/manifests/") != path.npos) {
    return Http(200,
                kManifestType,
                manifest_,
                fmt::format("Docker-Content-Digest: sha256:{}\r\n", base::Sha256Hex(manifest_)));
  }
  if (path.ends_with(config_digest_)) return Http(200, "application/octet-stream", config_);
  *is_slow = name == "slow" && path.ends_with(layer_digest_);
  return Http(200, "application/octet-stream", layer_);
}

}  // namespace dstack::shim
