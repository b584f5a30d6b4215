// How requirements are shown to people.
#pragma once

#include <string>

#include "dstack/config/v1/profile.pb.h"
#include "dstack/config/v1/resources.pb.h"
// FormatCpu, FormatGpu, FormatMemory, FormatIntRange and FormatDuration live beside their parsers.
#include "libs/config/shorthand/cpu.h"
#include "libs/config/shorthand/duration.h"
#include "libs/config/shorthand/gpu.h"
#include "libs/config/shorthand/memory.h"
#include "libs/config/shorthand/range.h"

namespace dstack::config {

// `cpu=2.. mem=8GB.. disk=100GB.. gpu=A100:80GB:2`; parts that ask for nothing are left out, also
// `gpu` where none is needed.
std::string FormatResources(const v1::Resources& resources);

// `off`, or `1h[no-capacity, error]` with what is retried.
std::string FormatRetry(const v1::ProfileParams& params);

// `spot`, `on-demand` (also where unset) or `auto`.
std::string FormatSpotPolicy(v1::SpotPolicy policy);

// `$0.2145`, `$12`: four decimals, trailing zeros cut.
std::string FormatPrice(double dollars_per_hour);

}  // namespace dstack::config
