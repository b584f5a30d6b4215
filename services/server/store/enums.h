#pragma once

#include <string>
#include <string_view>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/generated_enum_reflection.h>

#include "absl/strings/ascii.h"
#include "libs/db/params.h"
#include "services/server/domain/spec/names.h"

// Enum values of the contract as the words in the tables: RUN_STATUS_RUNNING is "running".
namespace dstack::server {

// Prefix of all values of an enum: "RUN_STATUS_", taken from its zero value.
template <typename Enum>
const std::string& EnumPrefix() {
  static const std::string prefix = [] {
    const std::string zero =
        google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(0)->name();
    return zero.substr(0, zero.size() - std::string_view("UNSPECIFIED").size());
  }();
  return prefix;
}

template <typename Enum>
std::string WordOf(Enum value) {
  const auto* descriptor =
      google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(static_cast<int>(value));
  return descriptor == nullptr ? std::string() : EnumWord(descriptor->name(), EnumPrefix<Enum>());
}

// NULL for the zero value.
template <typename Enum>
db::Param WordOrNull(Enum value) {
  return static_cast<int>(value) == 0 ? db::Null() : db::Param{WordOf(value)};
}

// UNSPECIFIED for an empty or unknown word: the row was written by a newer version.
template <typename Enum>
Enum FromWord(std::string_view word) {
  const auto* descriptor = google::protobuf::GetEnumDescriptor<Enum>()->FindValueByName(
      EnumPrefix<Enum>() + absl::AsciiStrToUpper(std::string(word)));
  return descriptor == nullptr ? static_cast<Enum>(0) : static_cast<Enum>(descriptor->number());
}

}  // namespace dstack::server
