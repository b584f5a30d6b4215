#include "services/server/store/postgres_notifications.h"

#include <cstdint>
#include <map>
#include <mutex>
#include <utility>

namespace dstack::server {

// Who wants what. A recursive mutex held over the callbacks (which return at once) makes sure that
// no callback runs after its subscription's end, and lets a callback end its own subscription.
class PostgresNotifications::Hub {
 public:
  using Callback = std::function<void(const std::string& payload)>;

  std::uint64_t Add(const std::string& channel, Callback callback) {
    const std::lock_guard lock(mutex_);
    callbacks_[++last_id_] = {channel, std::make_shared<Callback>(std::move(callback))};
    return last_id_;
  }

  void Remove(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    callbacks_.erase(id);
  }

  void Publish(const std::string& channel, const std::string& payload) {
    CallAll([&](const std::string& wanted) { return wanted == channel; }, payload);
  }

  void PublishToAll() {
    CallAll([](const std::string&) { return true; }, "");
  }

 private:
  struct Entry {
    std::string channel;
    std::shared_ptr<Callback> callback;
  };

  template <typename Wanted>
  void CallAll(Wanted wanted, const std::string& payload) {
    const std::lock_guard lock(mutex_);
    // By key, because a callback may add or remove subscriptions.
    for (auto next = callbacks_.begin(); next != callbacks_.end();) {
      const std::uint64_t id = next->first;
      const Entry entry = next->second;
      if (wanted(entry.channel)) (*entry.callback)(payload);
      next = callbacks_.upper_bound(id);
    }
  }

  std::recursive_mutex mutex_;
  std::map<std::uint64_t, Entry> callbacks_;
  std::uint64_t last_id_ = 0;
};

class PostgresNotifications::HubSubscription final : public Subscription {
 public:
  HubSubscription(std::shared_ptr<Hub> hub, std::uint64_t id) : hub_(std::move(hub)), id_(id) {}
  ~HubSubscription() override { hub_->Remove(id_); }

 private:
  std::shared_ptr<Hub> hub_;
  std::uint64_t id_;
};

PostgresNotifications::PostgresNotifications(const std::string& conninfo)
    : hub_(std::make_shared<Hub>()) {
  Hub& hub = *hub_;
  listener_ = std::make_unique<db::Listener>(db::Listener::Options{
      .conninfo = conninfo,
      .channels = {channel::kWork, channel::kHost, channel::kRun, channel::kLog},
      .on_notify = [&hub](const std::string& name,
                          const std::string& payload) { hub.Publish(name, payload); },
      .on_connect = [&hub] { hub.PublishToAll(); },
  });
}

PostgresNotifications::~PostgresNotifications() = default;

std::unique_ptr<Subscription> PostgresNotifications::Subscribe(
    const std::string& channel, std::function<void(const std::string& payload)> callback) {
  return std::make_unique<HubSubscription>(hub_, hub_->Add(channel, std::move(callback)));
}

}  // namespace dstack::server
