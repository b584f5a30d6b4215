#include "libs/config/interpolate.h"

#include <algorithm>

#include <fmt/format.h>

#include "libs/base/status.h"
#include "libs/config/problem.h"
#include "libs/config/text.h"

namespace dstack::config {

namespace {

constexpr std::string_view kOpening = "${{";
constexpr std::string_view kClosing = "}}";
constexpr size_t kMostIndexDigits = 7;

bool IsIdentifier(std::string_view text) {
  return !text.empty() && !IsAsciiDigit(text.front()) &&
         std::all_of(text.begin(), text.end(), [](char c) { return IsAsciiAlnum(c) || c == '_'; });
}

// Reads `word[N]` at the start of `text` and moves past it.
std::optional<size_t> TakeIndexed(std::string_view word, std::string_view* text) {
  if (!text->starts_with(word)) return std::nullopt;
  std::string_view rest = text->substr(word.size());
  if (!rest.starts_with("[")) return std::nullopt;
  const size_t end = rest.find(']');
  if (end > kMostIndexDigits + 1) return std::nullopt;
  const std::string_view digits = rest.substr(1, end - 1);
  if (!IsAllDigits(digits)) return std::nullopt;
  *text = rest.substr(end + 1);
  return static_cast<size_t>(*ParseInteger(digits));
}

// One pass over a text.
class Scanner {
 public:
  Scanner(std::string_view text, const InterpolationOptions& options)
      : text_(text), options_(options) {}

  absl::StatusOr<std::string> Run() {
    while (position_ < text_.size()) {
      if (absl::Status status = Step(); !status.ok()) return status;
    }
    if (unknown_.empty()) return std::move(output_);
    return BrokenRule("refers to unknown names: " + Join(unknown_, ", "));
  }

 private:
  absl::Status Step() {
    const size_t dollar = text_.find('$', position_);
    if (dollar == std::string_view::npos || dollar + 1 == text_.size()) {
      Copy(text_.size());
      return absl::OkStatus();
    }
    if (text_[dollar + 1] == '$') {
      Copy(dollar);
      output_ += '$';
      position_ = dollar + 2;
      return absl::OkStatus();
    }
    const size_t opening = text_.find(kOpening, dollar);
    Copy(std::min(opening, text_.size()));
    return opening == std::string_view::npos ? absl::OkStatus() : Resolve();
  }

  // Appends the text up to `end`.
  void Copy(size_t end) {
    output_ += text_.substr(position_, end - position_);
    position_ = end;
  }

  absl::Status Resolve() {
    const size_t closing = text_.find(kClosing, position_);
    if (closing == std::string_view::npos) return BrokenRule("has `${{` without `}}`");
    const size_t begin = position_ + kOpening.size();
    const std::string_view name = TrimBlanks(text_.substr(begin, closing - begin));
    const std::string_view reference =
        text_.substr(position_, closing + kClosing.size() - position_);
    position_ = closing + kClosing.size();
    if (options_.keep_group_addresses && ParseGroupAddress(name)) {
      output_ += reference;
      return absl::OkStatus();
    }
    return ResolveName(name, reference);
  }

  absl::Status ResolveName(std::string_view name, std::string_view reference) {
    const size_t dot = name.find('.');
    const std::string space(name.substr(0, dot));
    const std::string key(dot == std::string_view::npos ? "" : name.substr(dot + 1));
    if (!IsIdentifier(space) || !IsIdentifier(key)) {
      return BrokenRule(
          fmt::format("has an illegal reference `{}`; it must be `NAMESPACE.KEY`", Excerpt(name)));
    }
    if (options_.kept_namespaces.count(space) > 0) {
      output_ += reference;
      return absl::OkStatus();
    }
    const auto values = options_.values.find(space);
    if (values != options_.values.end()) {
      const auto value = values->second.find(key);
      if (value != values->second.end()) {
        output_ += value->second;
        return absl::OkStatus();
      }
    }
    unknown_.push_back(fmt::format("`{}`", name));
    return absl::OkStatus();
  }

  std::string_view text_;
  const InterpolationOptions& options_;
  size_t position_ = 0;
  std::string output_;
  std::vector<std::string> unknown_;
};

using Commands = google::protobuf::RepeatedPtrField<std::string>;

class RunPass {
 public:
  RunPass(const std::vector<std::string>& args, v1::RunConfiguration* run) : run_(run) {
    std::vector<std::string> words;
    for (const std::string& arg : args) words.push_back(ShellQuote(arg));
    for_commands_.values["run"]["args"] = Join(words, " ");
    for_commands_.kept_namespaces = {"secrets"};
    for_commands_.keep_group_addresses = true;
    for_values_.kept_namespaces = {"secrets"};
    for (const v1::EnvVar& variable : run->env()) {
      if (variable.has_value()) for_values_.values["env"][variable.name()] = variable.value();
    }
  }

  absl::Status Execute() {
    if (run_->has_task()) {
      Replace("commands", run_->mutable_task()->mutable_commands());
      ReplaceGroups(run_->mutable_task()->mutable_groups());
    }
    if (run_->has_service()) {
      Replace("commands", run_->mutable_service()->mutable_commands());
      ReplaceGroups(run_->mutable_service()->mutable_groups());
      for (int i = 0; i < run_->service().probes_size(); ++i) ReplaceProbe(i);
    }
    if (run_->has_registry_auth()) {
      v1::RegistryAuth* auth = run_->mutable_registry_auth();
      ReplaceValue("registry_auth.username", auth->mutable_username());
      ReplaceValue("registry_auth.password", auth->mutable_password());
    }
    return base::InvalidFields(violations_);
  }

 private:
  void ReplaceText(const std::string& path,
                   const InterpolationOptions& options,
                   std::string* text) {
    absl::StatusOr<std::string> result = Interpolate(*text, options);
    if (result.ok()) {
      *text = *std::move(result);
      return;
    }
    violations_.push_back({.field = path, .description = MessageOf(result.status()), .reason = {}});
  }

  void ReplaceValue(const std::string& path, std::string* text) {
    ReplaceText(path, for_values_, text);
  }

  void Replace(const std::string& path, Commands* commands) {
    for (int i = 0; i < commands->size(); ++i) {
      ReplaceText(ItemPath(path, static_cast<size_t>(i)), for_commands_, commands->Mutable(i));
    }
  }

  template <typename Groups>
  void ReplaceGroups(Groups* groups) {
    for (int i = 0; i < groups->size(); ++i) {
      Replace(ChildPath(ItemPath("groups", static_cast<size_t>(i)), "commands"),
              groups->Mutable(i)->mutable_commands());
    }
  }

  void ReplaceProbe(int index) {
    v1::ProbeSpec* probe = run_->mutable_service()->mutable_probes(index);
    const std::string path = ItemPath("probes", static_cast<size_t>(index));
    if (probe->has_url()) ReplaceValue(ChildPath(path, "url"), probe->mutable_url());
    if (probe->has_body()) ReplaceValue(ChildPath(path, "body"), probe->mutable_body());
    for (int i = 0; i < probe->headers_size(); ++i) {
      const std::string header = ItemPath(ChildPath(path, "headers"), static_cast<size_t>(i));
      ReplaceValue(ChildPath(header, "value"), probe->mutable_headers(i)->mutable_value());
    }
  }

  v1::RunConfiguration* run_;
  InterpolationOptions for_commands_;
  InterpolationOptions for_values_;
  std::vector<base::FieldViolation> violations_;
};

// Members of each group: nodes of a task, least replicas of a service.
std::vector<int64_t> GroupSizes(const v1::RunConfiguration& run) {
  std::vector<int64_t> sizes;
  for (const auto& group : run.task().groups())
    sizes.push_back(group.has_nodes() ? group.nodes() : 1);
  for (const auto& group : run.service().groups()) sizes.push_back(group.replicas().min());
  if (!sizes.empty()) return sizes;
  if (run.has_service()) {
    return {run.service().has_replicas() ? run.service().replicas().min() : 1};
  }
  return {run.task().has_nodes() ? run.task().nodes() : 1};
}

void CheckAddresses(const v1::RunConfiguration& run,
                    const std::vector<int64_t>& sizes,
                    const std::string& path,
                    const Commands& commands,
                    std::vector<base::FieldViolation>* violations) {
  for (int i = 0; i < commands.size(); ++i) {
    const absl::Status status =
        ReplaceGroupAddresses(commands[i], [&](const GroupAddress& address) {
          if (address.is_replica != run.has_service()) {
            return absl::StatusOr<std::string>(
                BrokenRule(run.has_service() ? "must refer to `replicas[...]` in a service"
                                             : "must refer to `nodes[...]` in a task"));
          }
          const bool is_known = address.group < sizes.size() &&
                                static_cast<int64_t>(address.member) < sizes[address.group];
          if (is_known) return absl::StatusOr<std::string>("");
          return absl::StatusOr<std::string>(
              BrokenRule(fmt::format("refers to member {} of group {}, which the run does not have",
                                     address.member,
                                     address.group)));
        }).status();
    if (status.ok()) continue;
    violations->push_back({.field = ItemPath(path, static_cast<size_t>(i)),
                           .description = MessageOf(status),
                           .reason = {}});
  }
}

}  // namespace

absl::StatusOr<std::string> Interpolate(std::string_view text,
                                        const InterpolationOptions& options) {
  return Scanner(text, options).Run();
}

std::optional<GroupAddress> ParseGroupAddress(std::string_view name) {
  GroupAddress address;
  const std::optional<size_t> group = TakeIndexed("groups", &name);
  if (!group || !name.starts_with(".")) return std::nullopt;
  name.remove_prefix(1);
  address.group = *group;
  std::optional<size_t> member = TakeIndexed("nodes", &name);
  if (!member) {
    member = TakeIndexed("replicas", &name);
    address.is_replica = true;
  }
  if (!member || name != ".IP_ADDRESS") return std::nullopt;
  address.member = *member;
  return address;
}

absl::StatusOr<std::string> ReplaceGroupAddresses(
    std::string_view text,
    const std::function<absl::StatusOr<std::string>(const GroupAddress&)>& resolve) {
  std::string output;
  size_t position = 0;
  while (true) {
    const size_t opening = text.find(kOpening, position);
    const size_t closing =
        opening == std::string_view::npos ? opening : text.find(kClosing, opening);
    if (closing == std::string_view::npos) break;
    const size_t begin = opening + kOpening.size();
    const size_t end = closing + kClosing.size();
    const auto address = ParseGroupAddress(TrimBlanks(text.substr(begin, closing - begin)));
    output += text.substr(position, opening - position);
    if (address) {
      const absl::StatusOr<std::string> value = resolve(*address);
      if (!value.ok()) return value.status();
      output += *value;
    } else {
      output += text.substr(opening, end - opening);
    }
    position = end;
  }
  output += text.substr(position);
  return output;
}

absl::Status InterpolateRun(const std::vector<std::string>& args, v1::RunConfiguration* run) {
  return RunPass(args, run).Execute();
}

std::string ShellQuote(std::string_view word) {
  constexpr std::string_view kSafeMarks = "@%_-+=:,./";
  const bool is_safe = !word.empty() && std::all_of(word.begin(), word.end(), [&](char c) {
    return IsAsciiAlnum(c) || kSafeMarks.find(c) != std::string_view::npos;
  });
  if (is_safe) return std::string(word);
  std::string quoted = "'";
  for (const char c : word) {
    if (c == '\'') {
      quoted += "'\"'\"'";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

absl::Status CheckGroupAddresses(const v1::RunConfiguration& run) {
  const std::vector<int64_t> sizes = GroupSizes(run);
  std::vector<base::FieldViolation> violations;
  CheckAddresses(run, sizes, "commands", run.task().commands(), &violations);
  CheckAddresses(run, sizes, "commands", run.service().commands(), &violations);
  for (int i = 0; i < run.task().groups_size(); ++i) {
    CheckAddresses(run,
                   sizes,
                   ChildPath(ItemPath("groups", static_cast<size_t>(i)), "commands"),
                   run.task().groups(i).commands(),
                   &violations);
  }
  for (int i = 0; i < run.service().groups_size(); ++i) {
    CheckAddresses(run,
                   sizes,
                   ChildPath(ItemPath("groups", static_cast<size_t>(i)), "commands"),
                   run.service().groups(i).commands(),
                   &violations);
  }
  return base::InvalidFields(violations);
}

}  // namespace dstack::config
