#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include <pqxx/pqxx>

#include "libs/base/ids.h"
#include "services/server/domain/run/run.h"

namespace dstack::server {

// Events and notifications of one transaction.
class Outbox {
 public:
  // Target of an event.
  struct Target {
    const char* type;  // "run", "job", "instance" or "fleet"
    std::string id;
    std::string name;
  };

  // Repeated notifications are sent once.
  void Notify(const char* channel, std::string payload);

  // `actor` empty: the server itself.
  void AddEvent(const ProjectId& project,
                Target target,
                std::string message,
                const UserId& actor = UserId());

  // Writes the events in one statement. The notifications follow the COMMIT.
  void Flush(pqxx::work& tx, TimePoint now);

 private:
  struct Event {
    ProjectId project;
    UserId actor;
    Target target;
    std::string message;
  };

  void WriteEvents(pqxx::work& tx, TimePoint now) const;

  std::vector<Event> events_;
  std::set<std::pair<std::string, std::string>> notifications_;
};

}  // namespace dstack::server
