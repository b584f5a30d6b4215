// Collects what is wrong with a message. Internal to the validators of this library.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>
#include <google/protobuf/map.h>
#include <google/protobuf/message.h>

#include "libs/base/status.h"

namespace dstack::config {

class Violations {
 public:
  // `rule` follows the name of the field: "must not be empty". A second rule for the same field is
  // dropped: the first one says enough, and the rest often follows from it.
  void Add(std::string_view path, std::string_view rule);
  // Adds the message of an error; nothing where it is OK.
  void AddIf(std::string_view path, const absl::Status& rule);

  std::vector<base::FieldViolation> Take() { return std::move(found_); }

 private:
  std::vector<base::FieldViolation> found_;
  std::set<std::string, std::less<>> fields_;
};

// The rules in the field options (limits, words, required fields), known enum values, and the rules
// of single types (ranges, paths, references), for `message` and everything below it. `path` is
// that of the message, empty at the top.
void CheckFieldRules(const google::protobuf::Message& message,
                     const std::string& path,
                     Violations* violations);

// The rules of the type of `message` itself, beyond those in field options.
void CheckTypeRules(const google::protobuf::Message& message,
                    const std::string& path,
                    Violations* violations);

// The rules for tags: keys and values. Values that are no text are refused by the reader.
void CheckTags(const google::protobuf::Map<std::string, std::string>& tags,
               const std::string& path,
               Violations* violations);

}  // namespace dstack::config
