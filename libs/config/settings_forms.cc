#include "libs/config/settings_forms.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <google/protobuf/struct.pb.h>

#include "dstack/config/v1/gateway.pb.h"
#include "dstack/config/v1/preset.pb.h"
#include "dstack/config/v1/run.pb.h"
#include "dstack/config/v1/server.pb.h"

#include "libs/config/text.h"
#include "libs/config/yaml_fields.h"
#include "libs/config/yaml_to_proto.h"

namespace dstack::config {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

const Node* ValueOf(const Node& node, std::string_view key) {
  for (const Entry& entry : node.entries) {
    if (entry.key == key) return entry.value.get();
  }
  return nullptr;
}

void ReadGatewayChoice(const Node& node,
                       const std::string& path,
                       Message* message,
                       YamlReader* reader) {
  auto* gateway = static_cast<v1::GatewayChoice*>(message);
  const absl::StatusOr<bool> enabled = ToBool(node);
  if (enabled.ok()) {
    gateway->set_enabled(*enabled);
    return;
  }
  reader->ReadMessage(node, path, gateway->mutable_reference());
}

void ReadServiceModel(const Node& node,
                      const std::string& path,
                      Message* message,
                      YamlReader* reader) {
  auto* model = static_cast<v1::ServiceModel*>(message);
  if (node.kind == NodeKind::kMap) {
    reader->ReadMapping(node, path, message);
  } else {
    const absl::StatusOr<std::string> name = ToText(node);
    if (!name.ok()) {
      reader->Refuse(node, path, name.status());
      return;
    }
    model->set_name(*name);
    model->set_format(v1::MODEL_FORMAT_OPENAI);
  }
  if (model->type().empty()) model->set_type("chat");
  const bool is_openai = model->format() == v1::MODEL_FORMAT_OPENAI;
  if (is_openai && model->prefix().empty()) model->set_prefix("/v1");
}

void ReadCertificate(const Node& node,
                     const std::string& path,
                     Message* message,
                     YamlReader* reader) {
  if (reader->ReadMapping(node, path, message) && ValueOf(node, "type") == nullptr) {
    reader->Refuse(node, ChildPath(path, "type"), "is required: `lets-encrypt` or `acm`");
  }
}

void ReadPresetModel(const Node& node,
                     const std::string& path,
                     Message* message,
                     YamlReader* reader) {
  if (node.kind == NodeKind::kMap) {
    reader->ReadMapping(node, path, message);
    return;
  }
  absl::StatusOr<std::string> repo = ToText(node);
  if (!repo.ok()) {
    reader->Refuse(node, path, repo.status());
    return;
  }
  static_cast<v1::PresetModel*>(message)->set_repo(*std::move(repo));
}

void ReadPrompt(const Node& node, const std::string& path, Message* message, YamlReader* reader) {
  if (node.kind == NodeKind::kMap) {
    reader->ReadMapping(node, path, message);
    return;
  }
  absl::StatusOr<std::string> text = ToText(node);
  if (!text.ok()) {
    reader->Refuse(node, path, "must be a text or a mapping with `path`");
    return;
  }
  static_cast<v1::PresetPrompt*>(message)->set_text(*std::move(text));
}

// The words of `type`: the names of the alternatives.
std::vector<std::string> BackendTypes() {
  std::vector<std::string> types;
  const auto& kind = *v1::BackendConfig::descriptor()->oneof_decl(0);
  for (int i = 0; i < kind.field_count(); ++i) types.push_back(kind.field(i)->name());
  return types;
}

void ReadBackend(const Node& node, const std::string& path, Message* message, YamlReader* reader) {
  if (node.kind != NodeKind::kMap) {
    reader->Refuse(node, path, "must be a mapping, not " + KindName(node.kind));
    return;
  }
  const std::vector<std::string> types = BackendTypes();
  const std::string type_path = ChildPath(path, "type");
  const Node* type = ValueOf(node, "type");
  if (type == nullptr) {
    reader->Refuse(node, type_path, "is required: " + AlternativesText(types));
    return;
  }
  constexpr std::string_view kLegacyVerda = "datacrunch";
  std::string word = ToText(*type).value_or("");
  if (word == kLegacyVerda) word = "verda";
  const FieldDescriptor* kind = message->GetDescriptor()->FindFieldByName(word);
  if (kind == nullptr) {
    const std::optional<std::string> near = Nearest(word, types);
    reader->Refuse(*type,
                   type_path,
                   "must be " + AlternativesText(types),
                   near ? fmt::format("did you mean `{}`?", *near) : "");
    return;
  }
  message->GetReflection()->MutableMessage(message, kind);
  reader->ReadMapping(node, path, message, kind, {"type"});
}

// A free value. Numbers that are not finite, and dates, stay text.
void Convert(const Node& node, google::protobuf::Value* value) {
  switch (node.kind) {
    case NodeKind::kNull:
      value->set_null_value(google::protobuf::NULL_VALUE);
      return;
    case NodeKind::kBool:
      value->set_bool_value(node.bool_value);
      return;
    case NodeKind::kInt:
    case NodeKind::kFloat: {
      const double number =
          node.kind == NodeKind::kInt ? static_cast<double>(node.int_value) : node.float_value;
      if (node.is_sexagesimal || !std::isfinite(number)) {
        value->set_string_value(node.source);
      } else {
        value->set_number_value(number);
      }
      return;
    }
    case NodeKind::kDate:
    case NodeKind::kString:
      value->set_string_value(node.text);
      return;
    case NodeKind::kList:
      value->mutable_list_value();
      for (const NodePtr& item : node.items) {
        Convert(*item, value->mutable_list_value()->add_values());
      }
      return;
    case NodeKind::kMap: {
      auto& fields = *value->mutable_struct_value()->mutable_fields();
      for (const Entry& entry : node.entries) Convert(*entry.value, &fields[entry.key]);
      return;
    }
  }
}

void ReadStruct(const Node& node, const std::string& path, Message* message, YamlReader* reader) {
  if (node.kind != NodeKind::kMap) {
    reader->Refuse(node, path, "must be a mapping, not " + KindName(node.kind));
    return;
  }
  google::protobuf::Value value;
  Convert(node, &value);
  static_cast<google::protobuf::Struct*>(message)->Swap(value.mutable_struct_value());
}

using MessageForm = void (*)(const Node&, const std::string&, Message*, YamlReader*);

struct NamedForm {
  std::string_view type;
  MessageForm read;
};

constexpr std::array kForms = {
    NamedForm{"GatewayChoice", ReadGatewayChoice},
    NamedForm{"ServiceModel", ReadServiceModel},
    NamedForm{"GatewayCertificate", ReadCertificate},
    NamedForm{"PresetModel", ReadPresetModel},
    NamedForm{"PresetPrompt", ReadPrompt},
    NamedForm{"BackendConfig", ReadBackend},
    NamedForm{"Struct", ReadStruct},
};

}  // namespace

bool ReadSettingsForm(const Node& node,
                      const std::string& path,
                      Message* message,
                      YamlReader* reader) {
  const auto* const form =
      std::find_if(kForms.begin(), kForms.end(), [&](const NamedForm& candidate) {
        return candidate.type == message->GetDescriptor()->name();
      });
  if (form == kForms.end()) return false;
  form->read(node, path, message, reader);
  return true;
}

}  // namespace dstack::config
