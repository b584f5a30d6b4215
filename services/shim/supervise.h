#pragma once

#include <string>
#include <vector>

namespace dstack::shim {

// Keeps `argv` running until SIGTERM or SIGINT: a child that dies is started again after 100 ms to
// 3 s, longer the more often it dies. A child that ends with status 0 or with a usage error is left
// alone, and its status becomes ours. On a signal the child gets SIGTERM and time to leave. For
// hosts without an init system that would do this. Returns the exit status of the process.
int Supervise(const std::vector<std::string>& argv);

}  // namespace dstack::shim
