#include "libs/base/status.h"

#include <cerrno>
#include <system_error>

#include <absl/strings/cord.h>

#include "google/rpc/error_details.pb.h"

namespace dstack::base {
namespace {

template <typename Message>
void Attach(absl::Status& status, std::string_view url, const Message& message) {
  status.SetPayload(ToAbsl(url), absl::Cord(message.SerializeAsString()));
}

// Nothing when the payload is absent or does not parse: it may come from a peer.
template <typename Message>
std::optional<Message> Detail(const absl::Status& status, std::string_view url) {
  const auto payload = status.GetPayload(ToAbsl(url));
  Message message;
  if (!payload.has_value() || !message.ParseFromString(std::string(*payload))) return std::nullopt;
  return message;
}

absl::Status ResourceError(absl::StatusCode code,
                           std::string_view reason,
                           std::string_view type,
                           std::string_view name,
                           std::string_view what) {
  absl::Status status = Error(code, reason, fmt::format("{} {} {}", type, name, what));
  google::rpc::ResourceInfo info;
  info.set_resource_type(std::string(type));
  info.set_resource_name(std::string(name));
  Attach(status, kResourceInfoUrl, info);
  return status;
}

std::string ViolationText(const std::vector<FieldViolation>& violations) {
  if (violations.size() == 1) {
    const FieldViolation& only = violations.front();
    return only.field.empty() ? only.description : only.field + ": " + only.description;
  }
  std::string text = fmt::format("{} fields are wrong:", violations.size());
  for (const FieldViolation& violation : violations) {
    text += fmt::format("\n  {}: {}", violation.field, violation.description);
  }
  return text;
}

}  // namespace

absl::Status Error(absl::StatusCode code,
                   std::string_view reason,
                   std::string_view message,
                   const std::map<std::string, std::string>& metadata) {
  absl::Status status(code, ToAbsl(message));
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain(std::string(kErrorDomain));
  for (const auto& [key, value] : metadata) (*info.mutable_metadata())[key] = value;
  Attach(status, kErrorInfoUrl, info);
  return status;
}

absl::Status NotFound(std::string_view reason, std::string_view type, std::string_view name) {
  return ResourceError(absl::StatusCode::kNotFound, reason, type, name, "not found");
}

absl::Status AlreadyExists(std::string_view reason, std::string_view type, std::string_view name) {
  return ResourceError(absl::StatusCode::kAlreadyExists, reason, type, name, "already exists");
}

absl::Status Invalid(std::string_view message) {
  return absl::InvalidArgumentError(ToAbsl(message));
}

absl::Status Unavailable(std::string_view message) {
  return absl::UnavailableError(ToAbsl(message));
}

absl::Status Internal(std::string_view message) { return absl::InternalError(ToAbsl(message)); }

absl::Status ErrnoError(int error_number, std::string_view what) {
  const std::string message =
      fmt::format("{}: {}", what, std::generic_category().message(error_number));
  const absl::StatusCode code = absl::ErrnoToStatusCode(error_number);
  const bool is_disk_full = error_number == ENOSPC || error_number == EDQUOT;
  return is_disk_full ? Error(code, kDiskFull, message) : absl::Status(code, message);
}

std::string Reason(const absl::Status& status) {
  const auto info = Detail<google::rpc::ErrorInfo>(status, kErrorInfoUrl);
  return info ? info->reason() : std::string();
}

std::map<std::string, std::string> Metadata(const absl::Status& status) {
  const auto info = Detail<google::rpc::ErrorInfo>(status, kErrorInfoUrl);
  if (!info) return {};
  return {info->metadata().begin(), info->metadata().end()};
}

absl::Status AnnotateText(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), ToAbsl(fmt::format("{}: {}", context, Message(status))));
  status.ForEachPayload([&annotated](absl::string_view url, const absl::Cord& payload) {
    annotated.SetPayload(url, payload);
  });
  return annotated;
}

absl::Status WithRetryAfter(absl::Status status, std::chrono::milliseconds delay) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(delay.count() / 1000);
  info.mutable_retry_delay()->set_nanos(static_cast<int>(delay.count() % 1000) * 1'000'000);
  Attach(status, kRetryInfoUrl, info);
  return status;
}

std::optional<std::chrono::milliseconds> RetryAfter(const absl::Status& status) {
  const auto info = Detail<google::rpc::RetryInfo>(status, kRetryInfoUrl);
  if (!info) return std::nullopt;
  return std::chrono::milliseconds(info->retry_delay().seconds() * 1000 +
                                   info->retry_delay().nanos() / 1'000'000);
}

absl::Status InvalidFields(const std::vector<FieldViolation>& violations) {
  if (violations.empty()) return absl::OkStatus();
  absl::Status status =
      Error(absl::StatusCode::kInvalidArgument, "INVALID_FIELDS", ViolationText(violations));
  google::rpc::BadRequest details;
  for (const FieldViolation& violation : violations) {
    auto* added = details.add_field_violations();
    added->set_field(violation.field);
    added->set_description(violation.description);
    added->set_reason(violation.reason);
  }
  Attach(status, kBadRequestUrl, details);
  return status;
}

absl::Status InvalidField(std::string_view field, std::string_view description) {
  return InvalidFields({{std::string(field), std::string(description), ""}});
}

std::vector<FieldViolation> FieldViolations(const absl::Status& status) {
  const auto details = Detail<google::rpc::BadRequest>(status, kBadRequestUrl);
  std::vector<FieldViolation> violations;
  if (!details) return violations;
  for (const auto& entry : details->field_violations()) {
    violations.push_back({entry.field(), entry.description(), entry.reason()});
  }
  return violations;
}

std::string_view CodeName(absl::StatusCode code) {
  // absl returns "" for values outside the enum.
  static const std::map<absl::StatusCode, std::string> kNames = [] {
    std::map<absl::StatusCode, std::string> all;
    for (int value = 0; value <= 16; ++value) {
      const auto each = static_cast<absl::StatusCode>(value);
      all[each] = absl::StatusCodeToString(each);
    }
    return all;
  }();
  const auto found = kNames.find(code);
  return found == kNames.end() ? std::string_view("UNKNOWN") : std::string_view(found->second);
}

bool IsTransient(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
      return true;
    default:
      return false;
  }
}

}  // namespace dstack::base
