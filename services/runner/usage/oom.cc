#include "services/runner/usage/oom.h"

#include "services/runner/usage/cgroup.h"

namespace dstack::runner {

OomCounter OomCounter::Read() {
  const CgroupFiles files = FindOwnCgroup();
  if (files.memory.empty()) return {};
  const bool is_v2 = files.is_v2;
  OomCounter counter;
  counter.kills =
      ReadKey(files.memory + (is_v2 ? "/memory.events" : "/memory.oom_control"), "oom_kill")
          .value_or(0);
  counter.limit_bytes =
      ReadNumber(files.memory + (is_v2 ? "/memory.max" : "/memory.limit_in_bytes")).value_or(0);
  return counter;
}

}  // namespace dstack::runner
