#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/file.h"

namespace dstack::db {

// Listens to NOTIFY on a connection of its own and hands each notification to `on_notify`, on its
// own thread. After every (re)connect it calls `on_connect`: anything may have been missed before
// it. It reconnects by itself with a growing pause of at most 2 s. A connection pooler in
// transaction mode loses notifications; a listener then works as if nothing were ever sent.
class Listener {
 public:
  struct Options {
    std::string conninfo;
    std::vector<std::string> channels;  // identifiers [a-z_]+
    std::function<void(const std::string& channel, const std::string& payload)> on_notify;
    std::function<void()> on_connect;
  };

  explicit Listener(Options options);
  // Stops within milliseconds; no callback runs afterwards.
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

 private:
  struct Connection;

  void Run();
  std::unique_ptr<Connection> Open();
  bool AwaitSocket(int socket, bool is_reading);
  // Until the connection breaks or the end.
  void Pump(Connection& connection);
  // False when it is time to stop.
  bool PauseFor(int timeout_ms);

  const Options options_;
  base::UniqueFd stop_event_;
  std::jthread thread_;
};

}  // namespace dstack::db
