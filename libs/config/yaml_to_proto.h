// Reads a tree of YAML values into a message by its descriptor and the options in
// yaml_options.proto. Knows grammar alone; whether the values make sense is the business of
// validate.h.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <google/protobuf/message.h>

#include "libs/config/node.h"
#include "libs/config/problem.h"
#include "libs/config/yaml_fields.h"

namespace dstack::config {

// Where a value stands in the document.
struct Place {
  Mark mark;
  std::string value;  // excerpt of a scalar; empty where there is none to show
  bool is_secret = false;
};

// Collects everything that is wrong instead of stopping at the first problem. Not thread-safe; one
// object for one document.
class YamlReader {
 public:
  // `file` is used in messages alone.
  explicit YamlReader(std::string file) : file_(std::move(file)) {}

  // Reads the keys of `node` into `message`. Of a oneof of inlined messages the member `kind` is
  // filled. Keys in `skip` are passed over. False where something was refused.
  bool ReadMapping(const Node& node,
                   const std::string& path,
                   google::protobuf::Message* message,
                   const google::protobuf::FieldDescriptor* kind = nullptr,
                   const std::vector<std::string>& skip = {});

  // Reads a value that is not null into one message, by its own grammar where its type has one.
  void ReadMessage(const Node& node, const std::string& path, google::protobuf::Message* message);

  // Reads the elements of a list into a repeated field.
  void ReadList(const Node& node,
                const std::string& path,
                google::protobuf::Message* message,
                const google::protobuf::FieldDescriptor& field);

  // Records a problem of the value `node` at `path`.
  void Refuse(const Node& node,
              const std::string& path,
              std::string rule,
              std::string suggestion = "");
  void Refuse(const Node& node, const std::string& path, const absl::Status& rule);
  // Records a problem of something that is not in the document, or that validation found.
  void RefuseAt(const std::string& path, std::string rule);
  // The same for what is only doubtful.
  void WarnAt(const std::string& path, std::string rule);

  // When all is read: problems beside a secret in one line show no source either. By the names of
  // its keys a secret is found also where the reader did not come.
  void HideLinesWithSecrets(const Node& root);

  // The place of `path`, or of the nearest thing around it.
  Place PlaceOf(std::string path) const;

  // Whether an unknown key was surely meant to be the one at `path`: that it is missing need not be
  // said as well.
  bool IsMeant(const std::string& path) const { return meant_.count(path) > 0; }

  // Whether nothing more would be told: the rest need not be read.
  bool IsFull() const;

  const std::vector<Problem>& problems() const { return problems_; }
  const std::vector<Problem>& warnings() const { return warnings_; }

 private:
  void ReadField(const Node& node,
                 const std::string& path,
                 google::protobuf::Message* message,
                 const google::protobuf::FieldDescriptor& field);
  void ReadValue(const Node& node,
                 const std::string& path,
                 google::protobuf::Message* message,
                 const google::protobuf::FieldDescriptor& field);
  void ReadMap(const Node& node,
               const std::string& path,
               google::protobuf::Message* message,
               const google::protobuf::FieldDescriptor& field);
  void ReadScalar(const Node& node,
                  const std::string& path,
                  google::protobuf::Message* message,
                  const google::protobuf::FieldDescriptor& field);
  void ReadNumber(const Node& node,
                  const std::string& path,
                  google::protobuf::Message* message,
                  const google::protobuf::FieldDescriptor& field);
  void ReadEnum(const Node& node,
                const std::string& path,
                google::protobuf::Message* message,
                const google::protobuf::FieldDescriptor& field);
  void ReadNull(const Node& node,
                const std::string& path,
                google::protobuf::Message* message,
                const google::protobuf::FieldDescriptor& field);
  void RefuseUnknownKey(const Entry& entry,
                        const std::string& path,
                        const std::vector<YamlKey>& keys,
                        const std::vector<std::string>& skipped);
  Problem ProblemAt(std::string path, std::string rule) const;
  void WarnOfBase60(const Node& node, const std::string& path, bool is_number);
  void Remember(const Node& node, const std::string& path, bool is_number = false);
  Problem MakeProblem(const Node& node, const std::string& path, std::string rule) const;

  std::string file_;
  std::vector<Problem> problems_;
  std::vector<Problem> warnings_;
  std::map<std::string, Place> places_;
  std::set<std::string> meant_;
  std::set<int> secret_lines_;
  int secret_depth_ = 0;
};

}  // namespace dstack::config
