#pragma once

#include <google/protobuf/timestamp.pb.h>

#include "services/server/domain/run/run.h"

namespace dstack::server {

google::protobuf::Timestamp ToProto(TimePoint time);

// Times outside of the years 1970 to 2200 become the nearest one inside: who sends them may be
// wrong, or hostile.
TimePoint FromProto(const google::protobuf::Timestamp& time);

}  // namespace dstack::server
