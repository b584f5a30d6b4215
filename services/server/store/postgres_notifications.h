#pragma once

#include <functional>
#include <memory>
#include <string>

#include "libs/db/listener.h"
#include "services/server/ports/notifications.h"

namespace dstack::server {

// Notifications over LISTEN. See Notifications.
class PostgresNotifications final : public Notifications {
 public:
  explicit PostgresNotifications(const std::string& conninfo);
  ~PostgresNotifications() override;

  std::unique_ptr<Subscription> Subscribe(
      const std::string& channel,
      std::function<void(const std::string& payload)> callback) override;

 private:
  class Hub;
  class HubSubscription;

  // Shared with the subscriptions, which may outlive this object.
  std::shared_ptr<Hub> hub_;
  std::unique_ptr<db::Listener> listener_;
};

}  // namespace dstack::server
