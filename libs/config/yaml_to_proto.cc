#include "libs/config/yaml_to_proto.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "libs/config/forms.h"
#include "libs/config/secret_text.h"
#include "libs/config/suggest.h"
#include "libs/config/text.h"
#include "libs/config/yaml_fields.h"

namespace dstack::config {

namespace {

using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Nobody reads more, and a hostile document must not fill the memory with them.
constexpr size_t kMaxProblems = 1000;

bool IsScalar(const Node& node) {
  return node.kind != NodeKind::kList && node.kind != NodeKind::kMap;
}

Message* Descend(Message* message, const std::vector<const FieldDescriptor*>& chain) {
  for (size_t i = 0; i + 1 < chain.size(); ++i) {
    message = message->GetReflection()->MutableMessage(message, chain[i]);
  }
  return message;
}

// A message whose keys lie at the level of its parent is there when one of its fields is: a key
// with null leaves no trace.
void DropUnused(Message* message) {
  const auto& type = *message->GetDescriptor();
  const Reflection& reflection = *message->GetReflection();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const bool may_be_dropped = RulesOf(field).inline_() && field.message_type() != nullptr &&
                                field.real_containing_oneof() == nullptr;
    if (!may_be_dropped || !reflection.HasField(*message, &field)) continue;
    if (reflection.GetMessage(*message, &field).ByteSizeLong() == 0) {
      reflection.ClearField(message, &field);
    }
  }
}

bool HasKey(const Node& node, const std::string& name) {
  return std::any_of(node.entries.begin(), node.entries.end(), [&](const Entry& entry) {
    return entry.key == name;
  });
}

// Numbers and durations; everything else is read from text.
bool IsNumber(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return true;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return field.message_type()->name().ends_with("Duration");
    default:
      return false;
  }
}

const YamlKey* FindKey(const std::vector<YamlKey>& keys, const std::string& name) {
  for (const YamlKey& key : keys) {
    if (key.name == name || (!key.alias.empty() && key.alias == name)) return &key;
  }
  return nullptr;
}

// The key of `keys` whose mapping knows `name`.
const YamlKey* HolderOf(const std::string& name, const std::vector<YamlKey>& keys) {
  for (const YamlKey& key : keys) {
    // One that many users know; other mappings share names such as `type` with everything.
    if (key.name != "resources" || key.field().message_type() == nullptr) continue;
    if (FindKey(KeysOf(*key.field().message_type()), name) != nullptr) return &key;
  }
  return nullptr;
}

// The key that `word` may stand for; empty where none is near.
std::string MeantKey(const std::string& word,
                     const std::vector<YamlKey>& keys,
                     const std::vector<std::string>& skipped) {
  std::vector<std::string> known = skipped;
  for (const YamlKey& key : keys) known.push_back(key.name);
  const std::string foreign = SuggestKey(word, known);
  return foreign.empty() ? Nearest(word, known).value_or("") : foreign;
}

// Whether a field is secret or a mapping with a secret in it.
bool MayHoldSecret(const FieldDescriptor& field) {
  if (RulesOf(field).secret()) return true;
  const auto* type = field.message_type();
  for (int i = 0; type != nullptr && i < type->field_count(); ++i) {
    if (RulesOf(*type->field(i)).secret()) return true;
  }
  return false;
}

bool IsBesideSecret(const std::vector<YamlKey>& keys) {
  return std::any_of(keys.begin(), keys.end(), [](const YamlKey& key) {
    const FieldDescriptor& field = key.field();
    return RulesOf(field).secret() && RulesOf(field).form() != v1::YAML_FORM_ENV;
  });
}

// Lines on which a value or a part of it begins.
void AddLines(const Node& node, std::set<int>* lines) {
  lines->insert(lines->end(), node.mark.line);
  for (const NodePtr& item : node.items) AddLines(*item, lines);
  for (const Entry& entry : node.entries) {
    lines->insert(entry.mark.line);
    AddLines(*entry.value, lines);
  }
}

// `{name: Authorization, value: ...}`
bool HasSecretName(const Node& node) {
  return std::any_of(node.entries.begin(), node.entries.end(), [](const Entry& entry) {
    return entry.key != "value" && IsScalar(*entry.value) && NamesSecret(entry.value->source);
  });
}

// The lines of all values whose keys are called like a secret.
void AddSecretLines(const Node& node, std::set<int>* lines) {
  for (const NodePtr& item : node.items) AddSecretLines(*item, lines);
  for (const Entry& entry : node.entries) {
    if (NamesSecret(entry.key) || (entry.key == "value" && HasSecretName(node))) {
      AddLines(*entry.value, lines);
    } else {
      AddSecretLines(*entry.value, lines);
    }
  }
}

// The keys of a mapping, for somebody who wrote something else.
std::string KeysHint(const Message& message, const FieldDescriptor* kind) {
  std::vector<std::string> names;
  for (const YamlKey& key : KeysOf(*message.GetDescriptor(), kind)) names.push_back(key.name);
  constexpr size_t kMostNames = 5;
  if (names.empty() || names.size() > kMostNames) return "";
  return names.size() == 1 ? fmt::format("write it below as the key `{}:`", names.front())
                           : fmt::format("its keys are {}", AlternativesText(names));
}

// How to write a single value where a list is asked for.
std::string ListHint(const Node& node, bool may_be_shown) {
  constexpr size_t kMostBytes = 48;
  if (!IsScalar(node)) return "";
  const bool is_short = !node.source.empty() && node.source.size() <= kMostBytes &&
                        node.source.find('\n') == std::string::npos && !LooksSecret(node.source);
  return is_short && may_be_shown
             ? fmt::format("write it on the next line, as `  - {}`", node.source)
         : node.source.find('\n') == std::string::npos
             ? "write `- ` before each element, each on a line of its own"
             : "write `- ` before each of its lines, or `- |` on a line above them";
}

// The text of a value as a problem shows it, between backquotes.
std::string_view Unquoted(std::string_view shown) {
  const bool is_quoted = shown.size() >= 2 && shown.front() == '`' && shown.back() == '`';
  return is_quoted ? shown.substr(1, shown.size() - 2) : std::string_view();
}

// A list that is there but empty differs from one that is left out: a profile must not fill it.
void NoteEmptied(Message* message, const FieldDescriptor& field) {
  const auto& type = *message->GetDescriptor();
  if (const auto* cleared = type.FindFieldByName("cleared_fields")) {
    message->GetReflection()->AddString(message, cleared, field.name());
  }
  if (const auto* disabled = type.FindFieldByName(field.name() + "_disabled")) {
    message->GetReflection()->SetBool(message, disabled, true);
  }
}

template <typename Value, typename Setter, typename Adder>
void Store(Message* message, const FieldDescriptor& field, Value value, Setter set, Adder add) {
  const Reflection* reflection = message->GetReflection();
  if (field.is_repeated()) {
    (reflection->*add)(message, &field, std::move(value));
  } else {
    (reflection->*set)(message, &field, std::move(value));
  }
}

}  // namespace

bool YamlReader::ReadMapping(const Node& node,
                             const std::string& path,
                             Message* message,
                             const FieldDescriptor* kind,
                             const std::vector<std::string>& skip) {
  const size_t problems_before = problems_.size();
  if (path.empty()) Remember(node, path);
  if (node.kind != NodeKind::kMap) {
    Refuse(node,
           path,
           "must be a mapping, not " + KindName(node.kind),
           path.empty() ? "" : KeysHint(*message, kind));
    return false;
  }
  const std::vector<YamlKey> keys = KeysOf(*message->GetDescriptor(), kind);
  for (const Entry& entry : node.entries) {
    if (std::find(skip.begin(), skip.end(), entry.key) != skip.end()) continue;
    const YamlKey* key = FindKey(keys, entry.key);
    if (key == nullptr) {
      RefuseUnknownKey(entry, path, keys, skip);
      continue;
    }
    if (entry.key != key->name && HasKey(node, key->name)) continue;  // the older name yields
    ReadField(*entry.value, ChildPath(path, entry.key), Descend(message, key->chain), key->field());
  }
  for (const YamlKey& key : keys) {
    if (!RulesOf(key.field()).required() || HasKey(node, key.name)) continue;
    const std::string key_path = ChildPath(path, key.name);
    const bool has_alias = !key.alias.empty() && HasKey(node, key.alias);
    if (has_alias || IsMeant(key_path)) continue;
    constexpr const char* kRule = "is required";
    Refuse(node, key_path, kRule, SuggestForRule(key_path, kRule, ""));
  }
  DropUnused(message);
  return problems_.size() == problems_before;
}

void YamlReader::RefuseUnknownKey(const Entry& entry,
                                  const std::string& path,
                                  const std::vector<YamlKey>& keys,
                                  const std::vector<std::string>& skipped) {
  if (problems_.size() >= kMaxProblems) return;
  const std::string shown_key = ShownKey(entry.key);
  Problem problem = MakeProblem(
      *entry.value,
      ChildPath(path, shown_key),
      path.empty() ? "is not a known key here" : fmt::format("is not a known key of `{}`", path));
  problem.mark = entry.mark;
  problem.value.clear();
  problem.is_secret = problem.is_secret || shown_key != Excerpt(entry.key);
  // The value of a key that is not surely meant to be a harmless one is not shown.
  problem.is_key_only = true;
  if (const YamlKey* holder = HolderOf(entry.key, keys)) {
    problem.suggestion = fmt::format(
        "`{}` goes below a line `{}:`, indented by two blanks", shown_key, holder->name);
    problem.is_key_only = false;
  } else if (const std::string meant = MeantKey(entry.key, keys, skipped); !meant.empty()) {
    problem.suggestion = fmt::format("did you mean `{}`?", meant);
    meant_.insert(ChildPath(path, meant));
    const YamlKey* key = FindKey(keys, meant);
    problem.is_key_only = key == nullptr || MayHoldSecret(key->field()) || NamesSecret(entry.key) ||
                          IsBesideSecret(keys);
  }
  if (problem.is_key_only) AddLines(*entry.value, &secret_lines_);
  problems_.push_back(std::move(problem));
}

void YamlReader::ReadField(const Node& node,
                           const std::string& path,
                           Message* message,
                           const FieldDescriptor& field) {
  const bool is_secret = RulesOf(field).secret() || (IsScalar(node) && MayHoldSecret(field));
  if (is_secret) ++secret_depth_;
  Remember(node, path, IsNumber(field));
  if (node.kind == NodeKind::kNull) {
    ReadNull(node, path, message, field);
  } else if (!ReadFieldForm(node, path, message, field, this)) {
    ReadValue(node, path, message, field);
  }
  if (is_secret) --secret_depth_;
}

void YamlReader::ReadNull(const Node& node,
                          const std::string& path,
                          Message* message,
                          const FieldDescriptor& field) {
  if (RulesOf(field).form() == v1::YAML_FORM_NULL_IS_EMPTY) {
    message->GetReflection()->MutableMessage(message, &field);
  } else if (!IsNullable(field)) {
    Refuse(node, path, "must not be null", "leave the key out to get the default");
  }
}

void YamlReader::ReadValue(const Node& node,
                           const std::string& path,
                           Message* message,
                           const FieldDescriptor& field) {
  if (field.is_map()) {
    ReadMap(node, path, message, field);
  } else if (field.is_repeated()) {
    ReadList(node, path, message, field);
  } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    ReadMessage(node, path, message->GetReflection()->MutableMessage(message, &field));
  } else {
    ReadScalar(node, path, message, field);
  }
}

void YamlReader::ReadMessage(const Node& node, const std::string& path, Message* message) {
  if (!ReadMessageForm(node, path, message, this)) ReadMapping(node, path, message);
}

void YamlReader::ReadList(const Node& node,
                          const std::string& path,
                          Message* message,
                          const FieldDescriptor& field) {
  if (node.kind != NodeKind::kList) {
    Refuse(node,
           path,
           "must be a list, not " + KindName(node.kind),
           ListHint(node, secret_depth_ == 0));
    return;
  }
  if (node.items.empty()) {
    if (RulesOf(field).non_empty()) Refuse(node, path, "must have at least one element");
    NoteEmptied(message, field);
  }
  for (size_t i = 0; i < node.items.size() && !IsFull(); ++i) {
    const Node& item = *node.items[i];
    const std::string item_path = ItemPath(path, i);
    const bool is_secret = IsScalar(item) && MayHoldSecret(field);
    if (is_secret) ++secret_depth_;
    Remember(item, item_path, IsNumber(field));
    if (item.kind == NodeKind::kNull) {
      Refuse(item, item_path, "must not be null");
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      ReadMessage(item, item_path, message->GetReflection()->AddMessage(message, &field));
    } else {
      ReadScalar(item, item_path, message, field);
    }
    if (is_secret) --secret_depth_;
  }
}

// All maps of the documents hold text.
void YamlReader::ReadMap(const Node& node,
                         const std::string& path,
                         Message* message,
                         const FieldDescriptor& field) {
  if (node.kind != NodeKind::kMap) {
    Refuse(node, path, "must be a mapping, not " + KindName(node.kind));
    return;
  }
  if (node.entries.empty()) NoteEmptied(message, field);
  for (const Entry& entry : node.entries) {
    const std::string entry_path = ChildPath(path, ShownKey(entry.key));
    Remember(*entry.value, entry_path);
    const absl::StatusOr<std::string> value = ToText(*entry.value);
    if (!value.ok()) {
      Refuse(*entry.value, entry_path, value.status());
      continue;
    }
    Message* pair = message->GetReflection()->AddMessage(message, &field);
    const auto* type = pair->GetDescriptor();
    pair->GetReflection()->SetString(pair, type->map_key(), entry.key);
    pair->GetReflection()->SetString(pair, type->map_value(), *value);
  }
}

void YamlReader::ReadScalar(const Node& node,
                            const std::string& path,
                            Message* message,
                            const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING: {
      absl::StatusOr<std::string> value = ToText(node);
      if (!value.ok()) return Refuse(node, path, value.status());
      return Store(
          message, field, *std::move(value), &Reflection::SetString, &Reflection::AddString);
    }
    case FieldDescriptor::CPPTYPE_BOOL: {
      const absl::StatusOr<bool> value = ToBool(node);
      if (!value.ok()) return Refuse(node, path, value.status());
      return Store(message, field, *value, &Reflection::SetBool, &Reflection::AddBool);
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      const absl::StatusOr<double> value = ToDouble(node);
      if (!value.ok()) return Refuse(node, path, value.status());
      return Store(message, field, *value, &Reflection::SetDouble, &Reflection::AddDouble);
    }
    case FieldDescriptor::CPPTYPE_ENUM:
      return ReadEnum(node, path, message, field);
    default:
      return ReadNumber(node, path, message, field);
  }
}

void YamlReader::ReadNumber(const Node& node,
                            const std::string& path,
                            Message* message,
                            const FieldDescriptor& field) {
  const absl::StatusOr<int64_t> value = ToInt(node);
  if (!value.ok()) return Refuse(node, path, value.status());
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
    return Store(message, field, *value, &Reflection::SetInt64, &Reflection::AddInt64);
  }
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  constexpr int64_t kMin = std::numeric_limits<int32_t>::min();
  if (*value > kMax || *value < kMin) return Refuse(node, path, "is out of range");
  Store(message, field, static_cast<int32_t>(*value), &Reflection::SetInt32, &Reflection::AddInt32);
}

void YamlReader::ReadEnum(const Node& node,
                          const std::string& path,
                          Message* message,
                          const FieldDescriptor& field) {
  const auto& type = *field.enum_type();
  const std::string word = NormalEnumWord(type, node.source);
  for (int i = 0; i < type.value_count(); ++i) {
    const EnumValueDescriptor* value = type.value(i);
    if (value->number() == 0 || EnumWord(*value) != word || !IsScalar(node)) continue;
    return Store(message, field, value, &Reflection::SetEnum, &Reflection::AddEnum);
  }
  const std::vector<std::string> words = EnumWords(type);
  const std::optional<std::string> near = Nearest(node.source, words);
  // Nobody reads two dozen words to find the one that is meant.
  constexpr size_t kMostWords = 10;
  Refuse(node,
         path,
         near && words.size() > kMostWords ? "is not a known word here"
                                           : "must be " + AlternativesText(words),
         near ? fmt::format("did you mean `{}`?", *near) : SuggestForRule(path, "", node.source));
}

void YamlReader::Refuse(const Node& node,
                        const std::string& path,
                        std::string rule,
                        std::string suggestion) {
  if (problems_.size() >= kMaxProblems) return;
  Problem problem = MakeProblem(node, path, std::move(rule));
  problem.suggestion = std::move(suggestion);
  problems_.push_back(std::move(problem));
}

void YamlReader::Refuse(const Node& node, const std::string& path, const absl::Status& rule) {
  const std::string text = MessageOf(rule);
  const bool is_shown = secret_depth_ == 0 && IsScalar(node) && !LooksSecret(node.source);
  Refuse(node, path, text, is_shown ? SuggestForRule(path, text, node.source) : "");
}

void YamlReader::RefuseAt(const std::string& path, std::string rule) {
  if (problems_.size() >= kMaxProblems) return;
  Problem problem = ProblemAt(path, std::move(rule));
  const bool is_told = !problems_.empty() && problems_.back().path == problem.path &&
                       problems_.back().rule == problem.rule;
  if (!is_told) problems_.push_back(std::move(problem));
}

void YamlReader::WarnAt(const std::string& path, std::string rule) {
  if (warnings_.size() < kMaxProblems) warnings_.push_back(ProblemAt(path, std::move(rule)));
}

// `22:22` is the number 1342 in YAML 1.1, which hardly anyone means.
void YamlReader::WarnOfBase60(const Node& node, const std::string& path, bool is_number) {
  if (!node.is_sexagesimal) return;
  WarnAt(path,
         is_number
             ? fmt::format("is read as the number {}, as YAML 1.1 does; write the number itself",
                           node.int_value)
             : fmt::format("is read as written; put it in quotes, since to YAML 1.1 it is the "
                           "number {}: \"{}\"",
                           node.int_value,
                           node.source));
}

bool YamlReader::IsFull() const { return problems_.size() >= kMaxProblems; }

Problem YamlReader::ProblemAt(std::string path, std::string rule) const {
  const bool is_bound = path.ends_with(".min") || path.ends_with(".max");
  // Of a range that is written as one value, that value is to blame.
  if (is_bound && places_.count(path) == 0) path.resize(path.size() - 4);
  const Place place = PlaceOf(path);
  // Rules of fields carry their hint at the end.
  constexpr std::string_view kHint = "; did you mean";
  const size_t hint = rule.find(kHint);
  std::string suggestion = hint == std::string::npos ? "" : rule.substr(hint + 2);
  rule.resize(std::min(hint, rule.size()));
  if (suggestion.empty()) suggestion = SuggestForRule(path, rule, Unquoted(place.value));
  return {.file = file_,
          .mark = place.mark,
          .path = path,
          .value = place.value,
          .rule = std::move(rule),
          .suggestion = std::move(suggestion),
          .is_secret = place.is_secret};
}

Problem YamlReader::MakeProblem(const Node& node, const std::string& path, std::string rule) const {
  const bool is_secret = secret_depth_ > 0 || (IsScalar(node) && LooksSecret(node.source));
  const bool has_value = IsScalar(node) && node.kind != NodeKind::kNull && !is_secret;
  return {.file = file_,
          .mark = node.mark,
          .path = path,
          .value = has_value ? '`' + Excerpt(node.source) + '`' : "",
          .rule = std::move(rule),
          .is_secret = is_secret};
}

void YamlReader::Remember(const Node& node, const std::string& path, bool is_number) {
  const Problem shown = MakeProblem(node, path, "");
  places_[path] = {.mark = shown.mark, .value = shown.value, .is_secret = shown.is_secret};
  if (shown.is_secret) secret_lines_.insert(shown.mark.line);
  if (!shown.is_secret) WarnOfBase60(node, path, is_number);
}

void YamlReader::HideLinesWithSecrets(const Node& root) {
  AddSecretLines(root, &secret_lines_);
  for (std::vector<Problem>* list : {&problems_, &warnings_}) {
    for (Problem& problem : *list) {
      if (problem.is_key_only) continue;
      problem.is_secret = problem.is_secret || secret_lines_.count(problem.mark.line) > 0;
    }
  }
}

Place YamlReader::PlaceOf(std::string path) const {
  const auto exact = places_.find(path);
  if (exact != places_.end()) return exact->second;
  while (!path.empty()) {
    const size_t end = path.find_last_of(".[");
    path.resize(end == std::string::npos ? 0 : end);
    const auto around = places_.find(path);
    if (around == places_.end()) continue;
    // The value of what encloses the field says nothing about the field.
    return {.mark = around->second.mark, .value = "", .is_secret = around->second.is_secret};
  }
  return {};
}

}  // namespace dstack::config
