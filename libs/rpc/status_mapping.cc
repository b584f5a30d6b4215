#include "libs/rpc/status_mapping.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/strings/cord.h>
#include <absl/strings/match.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace dstack::rpc {
namespace {

constexpr std::string_view kTypePrefix = "type.googleapis.com/";
// C-core peers refuse trailing metadata above 8 KiB. The message travels twice: percent-encoded in
// grpc-message and once more inside the details.
constexpr size_t kMaxMessageWireBytes = 2048;
constexpr size_t kMaxDetailsBytes = 5000;

struct Detail {
  std::string type_url;
  std::string value;
};

std::string TypeUrl(const google::protobuf::Message& message) {
  return std::string(kTypePrefix) + message.GetDescriptor()->full_name();
}

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Length of the UTF-8 sequence at `position`, 0 if there is no valid one.
size_t SequenceLength(std::string_view text, size_t position) {
  const auto lead = static_cast<unsigned char>(text[position]);
  size_t length = 0;
  if (lead < 0x80) {
    length = 1;
  } else if (lead >= 0xC2 && lead < 0xE0) {
    length = 2;
  } else if (lead >= 0xE0 && lead < 0xF0) {
    length = 3;
  } else if (lead >= 0xF0 && lead < 0xF5) {
    length = 4;
  }
  if (length == 0 || position + length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if (!IsContinuation(text[position + i])) return 0;
  }
  return length;
}

size_t WireBytes(std::string_view sequence) {
  const char c = sequence.front();
  const bool is_plain = sequence.size() == 1 && c >= 0x20 && c <= 0x7E && c != '%';
  return is_plain ? 1 : 3 * sequence.size();
}

// Valid UTF-8 that fits into grpc-message once it is percent-encoded.
std::string BoundMessage(std::string_view text) {
  std::string bounded;
  size_t wire_bytes = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t length = SequenceLength(text, i);
    const std::string_view sequence = length == 0 ? std::string_view("?") : text.substr(i, length);
    wire_bytes += WireBytes(sequence);
    if (wire_bytes + 3 > kMaxMessageWireBytes) return bounded + "...";
    bounded += sequence;
    i += std::max<size_t>(length, 1);
  }
  return bounded;
}

// Drops violations from the end until the rest fits and says how many are missing.
std::string TrimBadRequest(const std::string& value, size_t budget_bytes) {
  google::rpc::BadRequest bad_request;
  if (!bad_request.ParseFromString(value)) return "";
  auto* violations = bad_request.mutable_field_violations();
  int dropped = 0;
  while (!violations->empty()) {
    violations->RemoveLast();
    ++dropped;
    google::rpc::BadRequest candidate = bad_request;
    candidate.add_field_violations()->set_description(std::to_string(dropped) +
                                                      " more problems are not listed");
    if (candidate.ByteSizeLong() <= budget_bytes) return candidate.SerializeAsString();
  }
  return "";
}

std::string TrimErrorInfo(const std::string& value) {
  google::rpc::ErrorInfo info;
  if (!info.ParseFromString(value)) return "";
  info.clear_metadata();
  return info.SerializeAsString();
}

std::string Trim(const Detail& detail, size_t budget_bytes) {
  if (detail.type_url == TypeUrl(google::rpc::BadRequest::default_instance())) {
    return TrimBadRequest(detail.value, budget_bytes);
  }
  if (detail.type_url == TypeUrl(google::rpc::ErrorInfo::default_instance())) {
    return TrimErrorInfo(detail.value);
  }
  return "";
}

// ErrorInfo first, since it is the one that must arrive; the others by type, so that the same
// status always gives the same bytes.
std::vector<Detail> Details(const absl::Status& status) {
  std::vector<Detail> details;
  status.ForEachPayload([&](absl::string_view type_url, const absl::Cord& payload) {
    if (!absl::StartsWith(type_url, absl::string_view(kTypePrefix.data(), kTypePrefix.size()))) {
      return;
    }
    details.push_back({std::string(type_url), std::string(payload)});
  });
  const std::string error_info = TypeUrl(google::rpc::ErrorInfo::default_instance());
  std::sort(details.begin(), details.end(), [&](const Detail& a, const Detail& b) {
    return std::pair(a.type_url != error_info, a.type_url) <
           std::pair(b.type_url != error_info, b.type_url);
  });
  return details;
}

void AppendDetail(const Detail& detail, google::rpc::Status* message) {
  // Type URL, tags and lengths of the Any around the value.
  const size_t overhead_bytes = detail.type_url.size() + 16;
  const size_t used_bytes = message->ByteSizeLong() + overhead_bytes;
  if (used_bytes >= kMaxDetailsBytes) return;
  const size_t budget_bytes = kMaxDetailsBytes - used_bytes;
  std::string value = detail.value;
  if (value.size() > budget_bytes) value = Trim(detail, budget_bytes);
  if (value.empty() || value.size() > budget_bytes) return;
  auto* any = message->add_details();
  any->set_type_url(detail.type_url);
  any->set_value(std::move(value));
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status();
  const auto code = static_cast<grpc::StatusCode>(status.code());
  const absl::string_view text = status.message();
  const std::string message = BoundMessage(std::string_view(text.data(), text.size()));
  const std::vector<Detail> details = Details(status);
  if (details.empty()) return grpc::Status(code, message);

  google::rpc::Status wire;
  wire.set_code(static_cast<int>(code));
  wire.set_message(message);
  for (const Detail& detail : details) AppendDetail(detail, &wire);
  return grpc::Status(code, message, wire.SerializeAsString());
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int code = static_cast<int>(status.error_code());
  const bool is_known = code > 0 && code <= static_cast<int>(absl::StatusCode::kUnauthenticated);
  absl::Status result(is_known ? static_cast<absl::StatusCode>(code) : absl::StatusCode::kUnknown,
                      status.error_message());
  const std::string bytes = status.error_details();
  google::rpc::Status wire;
  if (bytes.empty() || !wire.ParseFromString(bytes)) return result;
  for (const auto& detail : wire.details()) {
    if (!absl::StartsWith(detail.type_url(),
                          absl::string_view(kTypePrefix.data(), kTypePrefix.size()))) {
      continue;
    }
    result.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return result;
}

void AddDetail(absl::Status& status, const google::protobuf::Message& detail) {
  status.SetPayload(TypeUrl(detail), absl::Cord(detail.SerializeAsString()));
}

bool GetDetail(const absl::Status& status, google::protobuf::Message* detail) {
  const auto payload = status.GetPayload(TypeUrl(*detail));
  return payload.has_value() && detail->ParseFromString(std::string(*payload));
}

}  // namespace dstack::rpc
