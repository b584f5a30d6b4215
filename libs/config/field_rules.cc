#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>
#include <google/protobuf/duration.pb.h>

#include "libs/config/problem.h"
#include "libs/config/shorthand/duration.h"
#include "libs/config/text.h"
#include "libs/config/violations.h"
#include "libs/config/yaml_fields.h"

namespace dstack::config {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Guards against messages that nest without end; documents are a handful of levels deep.
constexpr int kMaxDepth = 32;

std::string NumberText(double value) {
  return std::trunc(value) == value && std::abs(value) < 1e15
             ? fmt::format("{}", static_cast<int64_t>(value))
             : fmt::format("{:.4g}", value);
}

std::string LimitText(double limit, bool is_duration) {
  return is_duration ? FormatDuration(static_cast<int64_t>(limit)) : NumberText(limit);
}

void CheckLimits(double value,
                 bool is_duration,
                 const v1::YamlField& rules,
                 const std::string& path,
                 Violations* violations) {
  if (!std::isfinite(value)) violations->Add(path, "must be a finite number");
  const bool is_below = rules.has_min() && value < rules.min();
  const bool is_beyond = rules.has_max() && value > rules.max();
  if (is_below && rules.min() == 0) {
    violations->Add(path, "must not be negative");
  } else if (is_below || is_beyond) {
    std::string rule = "must be";
    if (rules.has_min()) rule += " at least " + LimitText(rules.min(), is_duration);
    if (rules.has_min() && rules.has_max()) rule += " and";
    if (rules.has_max()) rule += " at most " + LimitText(rules.max(), is_duration);
    violations->Add(path, rule);
  }
  if (rules.has_above() && value <= rules.above()) {
    violations->Add(path, "must be larger than " + NumberText(rules.above()));
  }
}

void CheckString(const std::string& value,
                 const v1::YamlField& rules,
                 const std::string& path,
                 Violations* violations) {
  if (value.find('\0') != std::string::npos) violations->Add(path, "must not have NUL characters");
  if (rules.one_of().empty() || value.empty()) return;
  const auto& words = rules.one_of();
  if (std::find(words.begin(), words.end(), value) != words.end()) return;
  const std::vector<std::string> known(words.begin(), words.end());
  std::string rule = "must be " + AlternativesText(known);
  if (const std::optional<std::string> near = Nearest(value, known)) {
    rule += fmt::format("; did you mean `{}`?", *near);
  }
  violations->Add(path, rule);
}

std::optional<double> NumberOf(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.GetInt32(message, &field);
    case FieldDescriptor::CPPTYPE_INT64:
      return static_cast<double>(reflection.GetInt64(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.GetDouble(message, &field);
    default:
      return std::nullopt;
  }
}

void CheckEnum(int number,
               const FieldDescriptor& field,
               const std::string& path,
               Violations* violations) {
  const auto* value = field.enum_type()->FindValueByNumber(number);
  const bool is_unset_element = field.is_repeated() && number == 0;
  if (value != nullptr && !is_unset_element) return;
  violations->Add(path, "must be " + AlternativesText(EnumWords(*field.enum_type())));
}

bool IsEmptyValue(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  if (field.is_repeated()) return reflection.FieldSize(message, &field) == 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.GetString(message, &field).empty();
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.GetEnumValue(message, &field) == 0;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return !reflection.HasField(message, &field);
    default:
      return false;  // a number without presence: the limits decide
  }
}

void CheckSingle(const Message& message,
                 const FieldDescriptor& field,
                 const std::string& path,
                 Violations* violations) {
  const Reflection& reflection = *message.GetReflection();
  if (field.has_presence() && !reflection.HasField(message, &field)) return;
  const v1::YamlField& rules = RulesOf(field);
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
    CheckEnum(reflection.GetEnumValue(message, &field), field, path, violations);
  } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    CheckString(reflection.GetString(message, &field), rules, path, violations);
  } else if (const std::optional<double> number = NumberOf(message, field)) {
    CheckLimits(*number, /*is_duration=*/false, rules, path, violations);
  }
}

void CheckElements(const Message& message,
                   const FieldDescriptor& field,
                   const std::string& path,
                   Violations* violations) {
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const std::string item = ItemPath(path, static_cast<size_t>(i));
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      CheckString(
          reflection.GetRepeatedString(message, &field, i), RulesOf(field), item, violations);
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
      CheckEnum(reflection.GetRepeatedEnumValue(message, &field, i), field, item, violations);
    }
  }
}

// One message: what its own type says, its duration limits, and what lies below it.
void CheckBelow(const Message& child,
                const FieldDescriptor& field,
                const std::string& path,
                int depth,
                Violations* violations);

void CheckMessage(const Message& message,
                  const std::string& path,
                  int depth,
                  Violations* violations) {
  if (depth > kMaxDepth) {
    violations->Add(path, "is nested too deeply");
    return;
  }
  const auto& type = *message.GetDescriptor();
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const v1::YamlField& rules = RulesOf(field);
    const std::string field_path = rules.inline_() ? path : ChildPath(path, KeyName(field));
    if (rules.required() && IsEmptyValue(message, field))
      violations->Add(field_path, "is required");
    const int size = field.is_repeated() ? reflection.FieldSize(message, &field) : 0;
    if (rules.has_max_items() && static_cast<uint32_t>(size) > rules.max_items()) {
      violations->Add(field_path,
                      fmt::format("must have at most {} element(s)", rules.max_items()));
    }
    if (field.is_map()) continue;  // the type of the message checks its maps
    if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      if (field.is_repeated()) {
        CheckElements(message, field, field_path, violations);
      } else {
        CheckSingle(message, field, field_path, violations);
      }
      continue;
    }
    for (int k = 0; k < size; ++k) {
      CheckBelow(reflection.GetRepeatedMessage(message, &field, k),
                 field,
                 ItemPath(field_path, static_cast<size_t>(k)),
                 depth,
                 violations);
    }
    if (!field.is_repeated() && reflection.HasField(message, &field)) {
      CheckBelow(reflection.GetMessage(message, &field), field, field_path, depth, violations);
    }
  }
}

void CheckBelow(const Message& child,
                const FieldDescriptor& field,
                const std::string& path,
                int depth,
                Violations* violations) {
  if (child.GetDescriptor() == google::protobuf::Duration::descriptor()) {
    const auto& duration = static_cast<const google::protobuf::Duration&>(child);
    if (duration.nanos() != 0) violations->Add(path, "must be whole seconds");
    if (duration.seconds() > kMaxDurationSeconds)
      violations->Add(path, "must not exceed 10,000 years");
    CheckLimits(static_cast<double>(duration.seconds()),
                /*is_duration=*/true,
                RulesOf(field),
                path,
                violations);
    return;
  }
  CheckMessage(child, path, depth + 1, violations);
  CheckTypeRules(child, path, violations);
}

}  // namespace

void Violations::Add(std::string_view path, std::string_view rule) {
  // Nobody reads more; the reader stops at the same number.
  constexpr size_t kMaxViolations = 1000;
  if (found_.size() >= kMaxViolations || !fields_.emplace(path).second) return;
  found_.push_back({.field = std::string(path), .description = std::string(rule), .reason = {}});
}

void Violations::AddIf(std::string_view path, const absl::Status& rule) {
  if (!rule.ok()) Add(path, base::Message(rule));
}

void CheckFieldRules(const Message& message, const std::string& path, Violations* violations) {
  CheckMessage(message, path, 0, violations);
  CheckTypeRules(message, path, violations);
}

}  // namespace dstack::config
