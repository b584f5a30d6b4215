#include "libs/config/env_form.h"

#include <string>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>

#include "dstack/config/v1/run.pb.h"

#include "libs/config/names.h"
#include "libs/config/secret_text.h"
#include "libs/config/shorthand/env.h"
#include "libs/config/suggest.h"
#include "libs/config/text.h"
#include "libs/config/yaml_to_proto.h"

namespace dstack::config {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

void AddVariable(v1::EnvVar variable,
                 std::unordered_set<std::string>* names,
                 const Node& node,
                 const std::string& path,
                 Message* message,
                 const FieldDescriptor& field,
                 YamlReader* reader) {
  if (!names->insert(variable.name()).second) {
    reader->Refuse(node, path, fmt::format("gives `{}` a second time", variable.name()));
    return;
  }
  auto* added = message->GetReflection()->AddMessage(message, &field);
  *static_cast<v1::EnvVar*>(added) = std::move(variable);
}

// The value of a variable in the mapping form; `{key: NAME}` asks for the client's environment.
absl::StatusOr<v1::EnvVar> MappedVariable(const Entry& entry) {
  v1::EnvVar variable;
  variable.set_name(entry.key);
  const Node& value = *entry.value;
  if (value.kind == NodeKind::kMap && value.entries.size() == 1 && value.entries[0].key == "key" &&
      value.entries[0].value->text == entry.key) {
    return variable;
  }
  absl::StatusOr<std::string> text = ToText(value);
  if (!text.ok()) {
    const bool is_date = value.kind == NodeKind::kDate;
    return BrokenRule("must be a string or a number, not " + KindName(value.kind) +
                      (is_date ? "; put it in quotes" : ""));
  }
  variable.set_value(*std::move(text));
  return variable;
}

// For a mapping in the list form: `- NAME: value`.
std::string SuggestPair(const Node& item) {
  const bool is_pair = item.entries.size() == 1 && CheckEnvName(item.entries[0].key).ok();
  return is_pair ? fmt::format("write `- {}=...`, or leave out the `- `", item.entries[0].key)
                 : "write `NAME=value`, or leave out the `- `";
}

// A word or a missing value in the mapping form. Neither is a secret.
std::string SuggestValue(const Entry& entry) {
  switch (entry.value->kind) {
    case NodeKind::kBool:
      return fmt::format("write `\"{}\"`", entry.value->source);
    case NodeKind::kNull:
      return "write `\"\"` for an empty value; `- NAME` in the list form takes yours";
    default:
      return "";
  }
}

}  // namespace

void ReadEnv(const Node& node,
             const std::string& path,
             Message* message,
             const FieldDescriptor& field,
             YamlReader* reader) {
  std::unordered_set<std::string> names;
  for (const Entry& entry : node.entries) {
    const std::string entry_path = ChildPath(path, ShownKey(entry.key));
    absl::StatusOr<v1::EnvVar> variable = MappedVariable(entry);
    if (variable.ok()) {
      AddVariable(*std::move(variable), &names, *entry.value, entry_path, message, field, reader);
    } else {
      reader->Refuse(*entry.value, entry_path, MessageOf(variable.status()), SuggestValue(entry));
    }
  }
  for (size_t i = 0; i < node.items.size() && !reader->IsFull(); ++i) {
    const Node& item = *node.items[i];
    const absl::StatusOr<std::string> text = ToText(item);
    absl::StatusOr<v1::EnvVar> variable =
        text.ok() ? ParseEnvVar(*text) : absl::StatusOr<v1::EnvVar>(text.status());
    if (variable.ok()) {
      AddVariable(*std::move(variable), &names, item, ItemPath(path, i), message, field, reader);
    } else if (item.kind == NodeKind::kMap) {
      reader->Refuse(item, ItemPath(path, i), "must be a text, not a mapping", SuggestPair(item));
    } else {
      reader->Refuse(item,
                     ItemPath(path, i),
                     MessageOf(variable.status()),
                     text.ok() ? SuggestVariable(*text) : "");
    }
  }
  if (node.kind != NodeKind::kMap && node.kind != NodeKind::kList) {
    reader->Refuse(node,
                   path,
                   "must be a list of `NAME=value` or a mapping",
                   "write each variable on a line of its own below, as `  - NAME=value`");
  }
}

}  // namespace dstack::config
