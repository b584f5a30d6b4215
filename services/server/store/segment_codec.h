#pragma once

#include <string>
#include <string_view>

#include "dstack/common/v1/log.pb.h"

#include "absl/status/status.h"

namespace dstack::server {

// Stored form of log records: one zstd frame per LogBatch; frames may follow one another, so that a
// segment grows by appending bytes.
std::string EncodeFrame(const common::v1::LogBatch& batch);

// Appends the records of all frames to `batch`. INTERNAL when the bytes are damaged.
absl::Status DecodeFrames(std::string_view frames, common::v1::LogBatch* batch);

}  // namespace dstack::server
