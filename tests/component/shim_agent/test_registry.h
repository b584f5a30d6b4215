#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <absl/status/status.h>

#include "libs/docker/client.h"
#include "libs/process/subprocess.h"
#include "libs/testing/temp_dir.h"

namespace dstack::shim {

// The registry of the package docker-registry on a loopback port; it wants name and password.
class RealRegistry {
 public:
  // Null when the package is not there; the reason is printed as a skip.
  static std::unique_ptr<RealRegistry> Start();
  ~RealRegistry();

  std::string host() const;  // "127.0.0.1:port"
  static constexpr char kUser[] = "ann";
  static constexpr char kPassword[] = "pa:ss word";

  // Tags an image of the engine for this registry, pushes it, and removes it from the engine.
  void Push(const docker::Client& engine, const std::string& image, const std::string& name) const;

 private:
  RealRegistry() = default;

  testing::TempDir dir_;
  std::uint16_t port_ = 0;
  std::optional<process::Subprocess> process_;
};

// A registry that misbehaves in a way that the image's name tells: limited (429), broken (500),
// forbidden (403), missing (404), silent (never answers). "slow" is a real image of one layer that
// comes in pieces, with pauses; "flaky" is the same at once, after two failures.
class BadRegistry {
 public:
  BadRegistry();
  ~BadRegistry();

  std::string host() const;
  std::string Image(const std::string& name) const { return host() + "/" + name + ":1"; }
  // Requests for manifests of this name.
  int requests(const std::string& name) const;

 private:
  void Accept();
  void Serve(int fd);
  std::string Answer(const std::string& method, const std::string& path, bool* is_slow);
  void MakeImage();

  testing::TempDir dir_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::string layer_;
  std::string layer_digest_;
  std::string config_;
  std::string config_digest_;
  std::string manifest_;
  mutable std::mutex mutex_;
  std::map<std::string, int> requests_;
  std::vector<int> open_;
  std::vector<std::thread> threads_;
  std::atomic<bool> is_ending_ = false;
  std::thread acceptor_;
};

}  // namespace dstack::shim
