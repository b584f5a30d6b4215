#include "services/server/usecases/field_text.h"

#include <cstddef>
#include <functional>
#include <map>

#include "dstack/config/v1/fleet.pb.h"
#include "dstack/config/v1/profile.pb.h"
#include "dstack/config/v1/resources.pb.h"
#include "dstack/config/v1/run.pb.h"
#include "google/protobuf/duration.pb.h"

#include "fmt/format.h"
#include "libs/config/format.h"
#include "libs/config/names.h"
#include "libs/config/shorthand/duration.h"
#include "libs/config/shorthand/gpu.h"
#include "libs/config/shorthand/memory.h"
#include "libs/config/shorthand/port.h"
#include "libs/config/shorthand/range.h"
#include "libs/config/yaml_fields.h"

namespace dstack::server {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr std::size_t kMaxTextBytes = 80;
constexpr const char* kSecret = "***";

using Formatter = std::function<std::string(const Message&)>;
using Formatters = std::map<const Descriptor*, Formatter>;

template <typename T, typename Format>
void Add(Formatters& formatters, const Format& format) {
  formatters[T::descriptor()] = [format](const Message& message) {
    return std::string(format(static_cast<const T&>(message)));
  };
}

std::string RetryText(const config::v1::RetryPolicy& retry) {
  config::v1::ProfileParams params;
  *params.mutable_retry() = retry;
  return config::FormatRetry(params);
}

std::string BlocksText(const config::v1::Blocks& blocks) {
  return blocks.auto_() ? std::string("auto") : std::to_string(blocks.count());
}

const Formatters& AllFormatters() {
  static const Formatters* all = [] {
    auto* formatters = new Formatters;
    Add<config::v1::MemoryRange>(*formatters, &config::FormatMemoryRange);
    Add<config::v1::IntRange>(*formatters, &config::FormatIntRange);
    Add<config::v1::GpuSpec>(*formatters, &config::FormatGpu);
    Add<config::v1::DiskSpec>(*formatters, [](const config::v1::DiskSpec& disk) {
      return config::FormatMemoryRange(disk.size());
    });
    Add<google::protobuf::Duration>(*formatters, [](const google::protobuf::Duration& duration) {
      return config::FormatDuration(duration);
    });
    Add<config::v1::OffableDuration>(*formatters, [](const config::v1::OffableDuration& duration) {
      return config::FormatDuration(duration);
    });
    Add<config::v1::RetryPolicy>(*formatters, &RetryText);
    Add<config::v1::Blocks>(*formatters, &BlocksText);
    Add<config::v1::PortMapping>(*formatters, &config::FormatPort);
    Add<config::v1::EntityReference>(*formatters, &config::FormatEntityReference);
    return formatters;
  }();
  return *all;
}

// One line of bounded length; cut between characters.
std::string OneLine(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '\r' || c == '\t') c = ' ';
  }
  if (text.size() <= kMaxTextBytes) return text;
  std::size_t end = kMaxTextBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return text.substr(0, end) + "...";
}

std::string NumberText(const Message& message, const FieldDescriptor& field) {
  const auto& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return std::to_string(reflection.GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_INT64:
      return std::to_string(reflection.GetInt64(message, &field));
    case FieldDescriptor::CPPTYPE_UINT32:
      return std::to_string(reflection.GetUInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return config::RulesOf(field).form() == config::v1::YAML_FORM_MEMORY
                 ? config::FormatMemory(reflection.GetUInt64(message, &field))
                 : std::to_string(reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return fmt::format("{:g}", reflection.GetDouble(message, &field));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return fmt::format("{:g}", reflection.GetFloat(message, &field));
    default:
      return "";
  }
}

}  // namespace

bool HasText(const Descriptor& type) { return AllFormatters().count(&type) > 0; }

std::string TextOf(const Message& message) {
  const auto formatter = AllFormatters().find(message.GetDescriptor());
  return formatter == AllFormatters().end() ? "" : OneLine(formatter->second(message));
}

std::string TextOfField(const Message& message, const FieldDescriptor& field) {
  const auto& reflection = *message.GetReflection();
  const bool is_bool = field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL;
  if (!reflection.HasField(message, &field) && !(is_bool && !field.has_presence())) return "";
  if (config::RulesOf(field).secret()) return kSecret;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return TextOf(reflection.GetMessage(message, &field));
    case FieldDescriptor::CPPTYPE_STRING:
      return OneLine(reflection.GetString(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return config::EnumWord(*reflection.GetEnum(message, &field));
    default:
      return NumberText(message, field);
  }
}

std::string TextOfElement(const Message& message, const FieldDescriptor& field, int index) {
  const auto& reflection = *message.GetReflection();
  if (config::RulesOf(field).secret()) return kSecret;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return TextOf(reflection.GetRepeatedMessage(message, &field, index));
    case FieldDescriptor::CPPTYPE_STRING:
      return OneLine(reflection.GetRepeatedString(message, &field, index));
    case FieldDescriptor::CPPTYPE_ENUM:
      return config::EnumWord(*reflection.GetRepeatedEnum(message, &field, index));
    default:
      return "";
  }
}

}  // namespace dstack::server
