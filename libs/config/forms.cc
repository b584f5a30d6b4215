#include "libs/config/forms.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "dstack/config/v1/fleet.pb.h"
#include "dstack/config/v1/profile.pb.h"
#include "dstack/config/v1/resources.pb.h"
#include "dstack/config/v1/run.pb.h"

#include "libs/config/accelerators.h"
#include "libs/config/env_form.h"
#include "libs/config/names.h"
#include "libs/config/settings_forms.h"
#include "libs/config/shorthand/cpu.h"
#include "libs/config/shorthand/duration.h"
#include "libs/config/shorthand/gpu.h"
#include "libs/config/shorthand/memory.h"
#include "libs/config/shorthand/path.h"
#include "libs/config/shorthand/port.h"
#include "libs/config/shorthand/range.h"
#include "libs/config/suggest.h"
#include "libs/config/text.h"
#include "libs/config/yaml_fields.h"
#include "libs/config/yaml_to_proto.h"

namespace dstack::config {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// What a shorthand is parsed from: numbers and strings, nothing else. `8080:22` is a number in YAML
// 1.1 and a pair to everybody else: it is taken as it is written.
std::optional<std::string> ShorthandText(const Node& node) {
  if (node.is_sexagesimal) return node.source;
  const bool is_number = node.kind == NodeKind::kInt || node.kind == NodeKind::kFloat;
  if (is_number || node.kind == NodeKind::kString) return node.text;
  return std::nullopt;
}

bool HasKey(const Node& node, std::string_view name) {
  for (const Entry& entry : node.entries) {
    if (entry.key == name) return true;
  }
  return false;
}

const FieldDescriptor* FieldOf(const Message& message, const char* name) {
  return message.GetDescriptor()->FindFieldByName(name);
}

std::string WriteHint(const std::string& text) {
  return text.empty() ? "" : fmt::format("write `{}`", text);
}

// A text near to `text` that the parser understands.
template <typename Parser>
std::string SuggestText(const std::string& text, Parser parse) {
  const std::string sizes = SuggestSizes(text);
  if (!sizes.empty() && parse(sizes).ok()) return WriteHint(sizes);
  // `A100:80GB:`, `24 GBs`.
  for (const char end : {':', 's', ','}) {
    if (!text.ends_with(end)) continue;
    const std::string without = text.substr(0, text.size() - 1);
    if (parse(without).ok()) return WriteHint(without);
  }
  // A third part, as Docker has it for mounts.
  for (const std::string_view suffix : {":ro", ":rw", "/tcp"}) {
    if (!text.ends_with(suffix)) continue;
    const std::string without = text.substr(0, text.size() - suffix.size());
    if (parse(without).ok()) return WriteHint(without);
  }
  return "";
}

// Parses the text of a scalar into `message`; the mapping form is left to the caller.
// `suggest` is asked where no suffix or unit is the matter.
template <typename Type, typename Parser>
void ReadShorthand(const Node& node,
                   const std::string& path,
                   Parser parse,
                   Message* message,
                   YamlReader* reader,
                   std::string (*suggest)(std::string_view) = nullptr) {
  const std::optional<std::string> text = ShorthandText(node);
  if (!text) {
    reader->Refuse(node, path, "cannot be " + KindName(node.kind));
    return;
  }
  const absl::StatusOr<Type> value = parse(*text);
  if (!value.ok()) {
    std::string suggestion = SuggestText(*text, parse);
    if (suggestion.empty() && suggest != nullptr) suggestion = suggest(*text);
    const std::string rule = MessageOf(value.status());
    if (suggestion.empty()) suggestion = SuggestForRule(path, rule, *text);
    reader->Refuse(node, path, rule, std::move(suggestion));
    return;
  }
  static_cast<Type*>(message)->CopyFrom(*value);
}

// A type with a shorthand and an ordinary mapping form.
template <typename Type, absl::StatusOr<Type> (*kParse)(std::string_view)>
void ReadWithShorthand(const Node& node,
                       const std::string& path,
                       Message* message,
                       YamlReader* reader) {
  if (node.kind == NodeKind::kMap) {
    reader->ReadMapping(node, path, message);
  } else {
    ReadShorthand<Type>(node, path, kParse, message, reader);
  }
}

void ReadIntRange(const Node& node, const std::string& path, Message* message, YamlReader* reader) {
  const bool is_fraction = node.kind == NodeKind::kFloat && !ToInt(node).ok();
  if (is_fraction) {
    reader->Refuse(node, path, "must be a whole number or a range of whole numbers");
    return;
  }
  ReadWithShorthand<v1::IntRange, ParseIntRange>(node, path, message, reader);
}

void ReadCpu(const Node& node, const std::string& path, Message* message, YamlReader* reader) {
  auto* cpu = static_cast<v1::CpuSpec*>(message);
  if (node.kind != NodeKind::kMap) {
    if (node.kind == NodeKind::kFloat) {
      reader->Refuse(node, path, "must be a whole number, a range, or `arm:` or `x86:` with one");
      return;
    }
    ReadShorthand<v1::CpuSpec>(node, path, ParseCpu, message, reader);
    return;
  }
  bool is_range = !node.entries.empty();
  for (const Entry& entry : node.entries) {
    is_range = is_range && (entry.key == "min" || entry.key == "max");
  }
  if (is_range) {
    reader->ReadMapping(node, path, cpu->mutable_count());
  } else {
    reader->ReadMapping(node, path, cpu);
  }
  if (!cpu->has_count()) *cpu->mutable_count() = DefaultCpuCount();
}

bool HasEmptyList(const Node& node, std::string_view name) {
  return std::any_of(node.entries.begin(), node.entries.end(), [&](const Entry& entry) {
    return entry.key == name && entry.value->kind == NodeKind::kList && entry.value->items.empty();
  });
}

// The reference system makes a model name of the boolean.
void ReadGpuWord(const Node& node, const std::string& path, v1::GpuSpec* gpu, YamlReader* reader) {
  const char* name = node.bool_value ? "True" : "False";
  gpu->add_name(name);
  gpu->mutable_count()->set_min(1);
  reader->WarnAt(path,
                 fmt::format("asks for a GPU model called `{}`; write a number of GPUs such as {}",
                             name,
                             node.bool_value ? "`1`" : "`0`"));
}

// `RTX 4090` is a model; of `A100 2` the blank makes one that nobody sells.
void WarnOfJoinedName(const Node& node,
                      const std::string& path,
                      const v1::GpuSpec& gpu,
                      YamlReader* reader) {
  if (TrimBlanks(node.text).find(' ') == std::string_view::npos) return;
  for (const std::string& name : gpu.name()) {
    if (VendorOfModel(name) != v1::GPU_VENDOR_UNSPECIFIED) continue;
    reader->WarnAt(path,
                   fmt::format("asks for a GPU model called `{}`, since blanks do not count; parts "
                               "are separated by `:`, as in `A100:2`",
                               name));
  }
}

void ReadGpu(const Node& node, const std::string& path, Message* message, YamlReader* reader) {
  auto* gpu = static_cast<v1::GpuSpec*>(message);
  if (node.kind == NodeKind::kBool) {
    ReadGpuWord(node, path, gpu, reader);
    return;
  }
  if (node.kind != NodeKind::kMap) {
    if (node.kind == NodeKind::kFloat) {
      reader->Refuse(node, path, "must be a number of GPUs, a size with unit, or a model");
      return;
    }
    ReadShorthand<v1::GpuSpec>(node, path, ParseGpu, message, reader);
    WarnOfJoinedName(node, path, *gpu, reader);
    return;
  }
  reader->ReadMapping(node, path, gpu);
  for (std::string& name : *gpu->mutable_name()) name = PlainGpuName(name);
  if (HasEmptyList(node, "name")) {
    gpu->add_name("");  // no model will do
    reader->WarnAt(ChildPath(path, "name"),
                   "is empty, so that no GPU matches; leave the key out for any model");
  }
  if (!gpu->has_count()) gpu->mutable_count()->set_min(1);
}

void ReadComputeCapability(const Node& node,
                           const std::string& path,
                           Message* message,
                           YamlReader* reader) {
  if (node.kind == NodeKind::kMap) {
    reader->ReadMapping(node, path, message);
    return;
  }
  if (node.kind != NodeKind::kList) {
    ReadShorthand<v1::ComputeCapability>(node, path, ParseComputeCapability, message, reader);
    return;
  }
  std::vector<std::string> parts;
  for (const NodePtr& item : node.items) {
    if (const std::optional<std::string> part = ShorthandText(*item)) parts.push_back(*part);
  }
  const absl::StatusOr<v1::ComputeCapability> value = ParseComputeCapability(Join(parts, "."));
  if (!value.ok() || node.items.size() != 2) {
    reader->Refuse(node, path, "must be a version of two parts such as `8.0` or `[8, 0]`");
    return;
  }
  message->CopyFrom(*value);
}

void ReadDisk(const Node& node, const std::string& path, Message* message, YamlReader* reader) {
  auto* disk = static_cast<v1::DiskSpec*>(message);
  if (node.kind != NodeKind::kMap) {
    ReadShorthand<v1::MemoryRange>(node, path, ParseMemoryRange, disk->mutable_size(), reader);
    return;
  }
  if (!HasKey(node, "size")) reader->Refuse(node, ChildPath(path, "size"), "is required");
  reader->ReadMapping(node, path, message);
}

void NormalisePath(const Node& node,
                   const std::string& path,
                   std::string* value,
                   YamlReader* reader) {
  if (value->empty()) return;  // a missing path is refused as such
  absl::StatusOr<std::string> normal = NormaliseAbsolutePath(*value);
  if (normal.ok()) {
    *value = *std::move(normal);
  } else {
    reader->Refuse(node, path, normal.status());
  }
}

void ReadMount(const Node& node, const std::string& path, Message* message, YamlReader* reader) {
  auto* mount = static_cast<v1::VolumeMount*>(message);
  if (node.kind != NodeKind::kMap) {
    ReadShorthand<v1::VolumeMount>(node, path, ParseMount, message, reader, SuggestMount);
    return;
  }
  const bool is_instance = HasKey(node, "instance_path");
  const FieldDescriptor* kind = FieldOf(*message, is_instance ? "instance" : "network");
  message->GetReflection()->MutableMessage(message, kind);
  reader->ReadMapping(node, path, message, kind);
  if (is_instance) {
    v1::InstanceMount* instance = mount->mutable_instance();
    NormalisePath(node, ChildPath(path, "path"), instance->mutable_path(), reader);
    NormalisePath(
        node, ChildPath(path, "instance_path"), instance->mutable_instance_path(), reader);
  } else {
    NormalisePath(node, ChildPath(path, "path"), mount->mutable_network()->mutable_path(), reader);
  }
}

void ReadRepo(const Node& node, const std::string& path, Message* message, YamlReader* reader) {
  ReadWithShorthand<v1::RepoSpec, ParseRepo>(node, path, message, reader);
  auto* repo = static_cast<v1::RepoSpec*>(message);
  if (repo->path().empty() && !HasKey(node, "path")) repo->set_path(".");
  // An empty text counts as unset.
  if (repo->local_path().empty()) repo->clear_local_path();
  if (repo->url().empty()) repo->clear_url();
}

void ReadInstanceSelector(const Node& node,
                          const std::string& path,
                          Message* message,
                          YamlReader* reader) {
  if (node.kind != NodeKind::kMap) {
    const absl::StatusOr<std::string> name = ToText(node);
    if (!name.ok()) {
      reader->Refuse(node, path, name.status());
      return;
    }
    static_cast<v1::InstanceSelector*>(message)->set_name(*name);
    return;
  }
  const bool is_position = HasKey(node, "fleet") || HasKey(node, "instance");
  const int ways =
      (is_position ? 1 : 0) + (HasKey(node, "name") ? 1 : 0) + (HasKey(node, "hostname") ? 1 : 0);
  if (ways > 1) {
    reader->Refuse(
        node, path, "must have only one of `name`, `hostname`, and `fleet` with `instance`");
    return;
  }
  const FieldDescriptor* kind = is_position ? FieldOf(*message, "fleet_instance") : nullptr;
  if (kind != nullptr) message->GetReflection()->MutableMessage(message, kind);
  reader->ReadMapping(node, path, message, kind);
}

// Seconds of a number, a boolean (0 or 1) or a text with a unit.
absl::StatusOr<int64_t> SecondsOf(const Node& node) {
  if (node.kind == NodeKind::kBool) return node.bool_value ? 1 : 0;
  if (node.kind == NodeKind::kInt) return ParseSeconds(std::to_string(node.int_value));
  if (node.kind == NodeKind::kFloat) {
    if (!std::isfinite(node.float_value) || std::abs(node.float_value) > 9e15) {
      return BrokenRule("is out of range");
    }
    return ParseSeconds(std::to_string(static_cast<int64_t>(node.float_value)));
  }
  const std::optional<std::string> text = ShorthandText(node);
  if (!text) return BrokenRule("must be a duration such as `90s` or `2h`");
  return ParseSeconds(*text);
}

void ReadDuration(const Node& node, const std::string& path, Message* message, YamlReader* reader) {
  const absl::StatusOr<int64_t> seconds = SecondsOf(node);
  if (!seconds.ok()) {
    reader->Refuse(
        node, path, MessageOf(seconds.status()), WriteHint(SuggestDuration(node.source)));
    return;
  }
  static_cast<google::protobuf::Duration*>(message)->set_seconds(*seconds);
}

bool IsOff(const Node& node) {
  return (node.kind == NodeKind::kBool && !node.bool_value) ||
         (node.kind == NodeKind::kString && node.text == "off");
}

void ReadOffable(const Node& node,
                 const std::string& path,
                 bool negative_is_off,
                 v1::OffableDuration* duration,
                 YamlReader* reader) {
  if (IsOff(node)) {
    duration->set_off(true);
    return;
  }
  const absl::StatusOr<int64_t> seconds = SecondsOf(node);
  if (!seconds.ok()) {
    reader->Refuse(node,
                   path,
                   MessageOf(seconds.status()) + ", or `off`",
                   WriteHint(SuggestDuration(node.source)));
  } else if (*seconds >= 0) {
    *duration->mutable_duration() = ToDuration(*seconds);
  } else if (negative_is_off) {
    duration->set_off(true);
  } else {
    reader->Refuse(node, path, "must not be negative");
  }
}

void ReadRetry(const Node& node, const std::string& path, Message* message, YamlReader* reader) {
  auto* retry = static_cast<v1::RetryPolicy*>(message);
  if (node.kind == NodeKind::kMap) {
    retry->set_enabled(true);
    reader->ReadMapping(node, path, message);
    return;
  }
  const absl::StatusOr<bool> enabled = ToBool(node);
  if (!enabled.ok()) {
    reader->Refuse(
        node,
        path,
        BrokenRule("must be `true`, `false`, or a mapping with `on_events` and `duration`"));
    return;
  }
  retry->set_enabled(*enabled);
}

void ReadBlocks(const Node& node, const std::string& path, Message* message, YamlReader* reader) {
  auto* blocks = static_cast<v1::Blocks*>(message);
  if (node.kind == NodeKind::kString && node.text == "auto") {
    blocks->set_auto_(true);
    return;
  }
  const absl::StatusOr<int64_t> count = ToInt(node);
  if (!count.ok() || *count < 1 || *count > 1'000'000) {
    reader->Refuse(node, path, "must be `auto` or a whole number, at least 1");
    return;
  }
  blocks->set_count(static_cast<int32_t>(*count));
}

void ReadFleetNodes(const Node& node,
                    const std::string& path,
                    Message* message,
                    YamlReader* reader) {
  if (node.kind == NodeKind::kMap) {
    reader->ReadMapping(node, path, message);
    return;
  }
  if (node.kind == NodeKind::kString && WithoutSpaces(node.text) == "..") return;
  v1::IntRange range;
  const size_t problems_before = reader->problems().size();
  ReadIntRange(node, path, &range, reader);
  if (reader->problems().size() != problems_before) return;
  auto* nodes = static_cast<v1::FleetNodes*>(message);
  nodes->set_min(range.min());
  if (range.has_max()) nodes->set_max(range.max());
}

void ReadSshHost(const Node& node, const std::string& path, Message* message, YamlReader* reader) {
  if (node.kind == NodeKind::kMap) {
    reader->ReadMapping(node, path, message);
    return;
  }
  const absl::StatusOr<std::string> hostname = ToText(node);
  if (!hostname.ok()) {
    reader->Refuse(node, path, "must be a host name or a mapping with `hostname`");
    return;
  }
  static_cast<v1::SshHost*>(message)->set_hostname(*hostname);
}

using MessageForm = void (*)(const Node&, const std::string&, Message*, YamlReader*);

struct NamedForm {
  std::string_view type;  // without the package
  MessageForm read;
};

constexpr std::array kMessageForms = {
    NamedForm{"IntRange", ReadIntRange},
    NamedForm{"MemoryRange", ReadWithShorthand<v1::MemoryRange, ParseMemoryRange>},
    NamedForm{"CpuSpec", ReadCpu},
    NamedForm{"GpuSpec", ReadGpu},
    NamedForm{"ComputeCapability", ReadComputeCapability},
    NamedForm{"DiskSpec", ReadDisk},
    NamedForm{"PortMapping", ReadWithShorthand<v1::PortMapping, ParsePort>},
    NamedForm{"VolumeMount", ReadMount},
    NamedForm{"FileMapping", ReadWithShorthand<v1::FileMapping, ParseFileMapping>},
    NamedForm{"RepoSpec", ReadRepo},
    NamedForm{"EntityReference", ReadWithShorthand<v1::EntityReference, ParseEntityReference>},
    NamedForm{"InstanceSelector", ReadInstanceSelector},
    NamedForm{"Duration", ReadDuration},
    NamedForm{"RetryPolicy", ReadRetry},
    NamedForm{"Blocks", ReadBlocks},
    NamedForm{"FleetNodes", ReadFleetNodes},
    NamedForm{"SshHost", ReadSshHost},
};

void ReadMemoryField(const Node& node,
                     const std::string& path,
                     Message* message,
                     const FieldDescriptor& field,
                     YamlReader* reader) {
  const std::optional<std::string> text = ShorthandText(node);
  const absl::StatusOr<uint64_t> bytes = ParseMemory(text.value_or(""));
  if (!bytes.ok()) {
    reader->Refuse(
        node, path, MessageOf(bytes.status()), SuggestText(text.value_or(""), ParseMemory));
    return;
  }
  message->GetReflection()->SetUInt64(message, &field, *bytes);
}

void ReadStringOrList(const Node& node,
                      const std::string& path,
                      Message* message,
                      const FieldDescriptor& field,
                      YamlReader* reader) {
  if (node.kind == NodeKind::kList) {
    const bool may_be_empty = IsNullable(field);
    if (node.items.empty() && !may_be_empty) {
      reader->Refuse(node, path, "must have at least one element");
    }
    reader->ReadList(node, path, message, field);
    return;
  }
  absl::StatusOr<std::string> text = ToText(node);
  if (!text.ok()) {
    reader->Refuse(node, path, text.status());
    return;
  }
  message->GetReflection()->AddString(message, &field, *std::move(text));
}

void ReadPython(const Node& node,
                const std::string& path,
                Message* message,
                const FieldDescriptor& field,
                YamlReader* reader) {
  const absl::StatusOr<std::string> text = ToText(node);
  if (!text.ok()) {
    reader->Refuse(node, path, text.status());
    return;
  }
  // YAML drops the last digit of 3.10.
  const bool is_ten = node.kind == NodeKind::kFloat && *text == "3.1";
  message->GetReflection()->SetString(message, &field, is_ten ? "3.10" : *text);
}

void ReadHttps(const Node& node,
               const std::string& path,
               Message* message,
               const FieldDescriptor& field,
               YamlReader* reader) {
  const absl::StatusOr<bool> on = ToBool(node);
  const bool is_auto = node.kind == NodeKind::kString && node.text == "auto";
  if (!on.ok() && !is_auto) {
    reader->Refuse(node, path, "must be `true`, `false` or `auto`");
    return;
  }
  const int mode = is_auto ? v1::HTTPS_MODE_AUTO : *on ? v1::HTTPS_MODE_ON : v1::HTTPS_MODE_OFF;
  message->GetReflection()->SetEnumValue(message, &field, mode);
}

void ReadReplicas(const Node& node,
                  const std::string& path,
                  Message* message,
                  const FieldDescriptor& field,
                  YamlReader* reader) {
  const FieldDescriptor* groups = FieldOf(*message, "groups");
  if (node.kind == NodeKind::kList && groups != nullptr) {
    if (node.items.empty()) reader->Refuse(node, path, "must have at least one element");
    reader->ReadList(node, path, message, *groups);
    return;
  }
  auto* range =
      static_cast<v1::IntRange*>(message->GetReflection()->MutableMessage(message, &field));
  ReadIntRange(node, path, range, reader);
  if (range->has_max() && !range->has_min()) range->set_min(0);
}

// Durations that may be switched off: `true` stands for "unset", so the field stays absent.
bool ReadOffableField(const Node& node,
                      const std::string& path,
                      Message* message,
                      const FieldDescriptor& field,
                      YamlReader* reader) {
  const v1::YamlForm form = RulesOf(field).form();
  const bool is_offable = field.message_type() == v1::OffableDuration::descriptor();
  const bool off_is_unset = form == v1::YAML_FORM_OFF_IS_UNSET;
  if (!is_offable && !off_is_unset) return false;
  const bool is_true = node.kind == NodeKind::kBool && node.bool_value;
  if (is_true || (off_is_unset && IsOff(node))) return true;
  v1::OffableDuration duration;
  ReadOffable(node, path, form == v1::YAML_FORM_NEGATIVE_IS_OFF, &duration, reader);
  if (duration.setting_case() == v1::OffableDuration::SETTING_NOT_SET) return true;
  Message* target = message->GetReflection()->MutableMessage(message, &field);
  if (is_offable) {
    target->CopyFrom(duration);
  } else {
    target->CopyFrom(duration.duration());
  }
  return true;
}

}  // namespace

bool ReadFieldForm(const Node& node,
                   const std::string& path,
                   Message* message,
                   const FieldDescriptor& field,
                   YamlReader* reader) {
  if (ReadOffableField(node, path, message, field, reader)) return true;
  switch (RulesOf(field).form()) {
    case v1::YAML_FORM_MEMORY:
      ReadMemoryField(node, path, message, field, reader);
      return true;
    case v1::YAML_FORM_ENV:
      ReadEnv(node, path, message, field, reader);
      return true;
    case v1::YAML_FORM_PYTHON:
      ReadPython(node, path, message, field, reader);
      return true;
    case v1::YAML_FORM_STRING_OR_LIST:
      ReadStringOrList(node, path, message, field, reader);
      return true;
    case v1::YAML_FORM_HTTPS:
      ReadHttps(node, path, message, field, reader);
      return true;
    case v1::YAML_FORM_SERVICE_PORT:
      ReadWithShorthand<v1::PortMapping, ParseServicePort>(
          node, path, message->GetReflection()->MutableMessage(message, &field), reader);
      return true;
    case v1::YAML_FORM_REPLICAS:
      ReadReplicas(node, path, message, field, reader);
      return true;
    default:
      return false;
  }
}

bool ReadMessageForm(const Node& node,
                     const std::string& path,
                     Message* message,
                     YamlReader* reader) {
  for (const NamedForm& form : kMessageForms) {
    if (form.type != message->GetDescriptor()->name()) continue;
    form.read(node, path, message, reader);
    return true;
  }
  return ReadSettingsForm(node, path, message, reader);
}

std::string NormalEnumWord(const google::protobuf::EnumDescriptor& type, const std::string& word) {
  if (&type == v1::CpuArch_descriptor()) return AsciiLower(word);
  if (&type != v1::GpuVendor_descriptor()) return word;
  const std::optional<v1::GpuVendor> vendor = ParseGpuVendor(word);
  return vendor ? GpuVendorName(*vendor) : word;
}

}  // namespace dstack::config
