#include "services/server/usecases/request_digest.h"

#include <algorithm>

#include "fmt/format.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "libs/base/sha256.h"
#include "libs/base/status.h"

namespace dstack::server {

std::string RequestDigest(const google::protobuf::Message& request) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    request.SerializeToCodedStream(&coded);
  }
  return base::Sha256Hex(bytes);
}

absl::Status CheckRequestId(const std::string& request_id) {
  constexpr std::size_t kMaxLength = 64;
  const bool is_printable = std::all_of(
      request_id.begin(), request_id.end(), [](unsigned char c) { return c > 0x20 && c < 0x7F; });
  if (request_id.size() <= kMaxLength && is_printable) return absl::OkStatus();
  return base::InvalidField(
      "request_id",
      fmt::format("must have at most {} printable characters without blanks; it has {} bytes",
                  kMaxLength,
                  request_id.size()));
}

}  // namespace dstack::server
