#pragma once

#include <catch2/catch.hpp>

#include "services/shim/ports/device_probe.h"

namespace dstack::shim {

// What a probe finds that has to work.
inline DeviceList Found(DeviceProbe&& probe) {
  auto found = probe.Find({});
  INFO(found.status());
  REQUIRE(found.ok());
  return *found;
}

}  // namespace dstack::shim
