#include "libs/config/suggest.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>

#include <fmt/format.h>

#include "libs/config/names.h"
#include "libs/config/shorthand/duration.h"
#include "libs/config/text.h"

namespace dstack::config {

namespace {

constexpr size_t kMaxBytes = 64;

// Takes the characters at the front for which `is_part` holds.
template <typename Predicate>
std::string_view TakeWhile(std::string_view* text, Predicate is_part) {
  size_t size = 0;
  while (size < text->size() && is_part((*text)[size])) ++size;
  const std::string_view taken = text->substr(0, size);
  text->remove_prefix(size);
  return taken;
}

bool IsNumberPart(char c) { return IsAsciiDigit(c) || c == '.'; }

double SecondsOfUnit(std::string_view word) {
  struct Unit {
    std::string_view name;
    double seconds;
  };
  constexpr std::array kUnits = {Unit{"s", 1},
                                 Unit{"sec", 1},
                                 Unit{"second", 1},
                                 Unit{"m", 60},
                                 Unit{"min", 60},
                                 Unit{"minute", 60},
                                 Unit{"h", 3600},
                                 Unit{"hr", 3600},
                                 Unit{"hour", 3600},
                                 Unit{"d", 86400},
                                 Unit{"day", 86400},
                                 Unit{"w", 604800},
                                 Unit{"week", 604800}};
  std::string name = AsciiLower(word);
  if (name.size() > 1 && name.back() == 's') name.pop_back();
  for (const Unit& unit : kUnits) {
    if (unit.name == name) return unit.seconds;
  }
  return 0;
}

// `24G` as `24GB`; nothing where the token is no size with a wrong unit.
std::optional<std::string> WithUnit(std::string_view token) {
  const std::string_view number = TakeWhile(&token, IsNumberPart);
  if (number.empty() || token.empty() || token.size() > 3) return std::nullopt;
  const std::string unit = AsciiLower(token);
  if (unit == "gb" || unit == "mb" || unit == "tb") return std::nullopt;
  const char prefix = unit.front();
  const std::string_view rest = std::string_view(unit).substr(1);
  const bool is_prefix = prefix == 'g' || prefix == 'm' || prefix == 't';
  if (!is_prefix || (rest != "" && rest != "i" && rest != "ib" && rest != "b")) return std::nullopt;
  return std::string(number) + static_cast<char>(prefix - 'a' + 'A') + "B";
}

// `My_Train` as `my-train`; empty where that is no name either.
std::string PlainName(std::string_view text) {
  std::string name = AsciiLower(text);
  if (name.size() == 1) name += "-1";
  for (char& c : name) {
    if (c == '_' || c == ' ' || c == '.') c = '-';
  }
  return CheckResourceName(name).ok() ? name : "";
}

// Quotes that a word processor makes are letters to YAML.
bool HasTypographicQuote(std::string_view text) {
  for (const std::string_view quote : {"\u2018", "\u2019", "\u201C", "\u201D"}) {
    if (text.find(quote) != std::string_view::npos) return true;
  }
  return false;
}

// What to write instead of a value that is refused everywhere for the same reason.
std::string ExampleOfRule(std::string_view path, std::string_view rule, std::string_view value) {
  const std::string_view key = path.substr(path.rfind('.') + 1);
  if (rule == "must be a whole number" && value.find("..") != std::string_view::npos) {
    return "write one number, such as `2`; a range is not possible here";
  }
  if (rule.starts_with("must be a whole number") || rule.starts_with("must be a number")) {
    return value.empty() ? "" : "write digits alone, such as `2`";
  }
  if (rule.starts_with("must be a port from")) return "write a port such as `8000`";
  if (rule.starts_with("must have one `:` at most")) {
    const std::string_view last = value.substr(value.rfind(':') + 1);
    return fmt::format("write `{}:{}`", value.substr(0, value.find(':')), last);
  }
  if (rule.starts_with("must be given in each of the `groups`")) {
    return fmt::format("move it below the elements of `groups`, each with `{}` of its own", key);
  }
  if (rule.starts_with("must have a weekday")) return "write `6` for Sunday; Monday is `0`";
  if (key == "retry") return "write `true`, for example";
  if (key == "ide") return "leave the key out for another editor, and connect with ssh";
  if (key == "python") return "write `3.12`, for example, or leave the key out";
  if (key == "working_dir" && value.size() <= kMaxBytes) {
    const std::string_view inner = value.starts_with("./") ? value.substr(2) : value;
    return fmt::format("write `/{0}` or `~/{0}`", inner);
  }
  if (rule.starts_with("asks for a GPU model called") && value.size() <= kMaxBytes) {
    std::string joined(TrimBlanks(value));
    std::replace(joined.begin(), joined.end(), ' ', ':');
    return joined.find(':') == std::string::npos ? "" : fmt::format("write `{}`", joined);
  }
  if (key == "identity_file" && rule.starts_with("must be the path")) {
    return "write `~/.ssh/id_ed25519`, for example";
  }
  return "";
}

// The five fields that cron's macros stand for.
std::string CronOfMacro(std::string_view macro) {
  struct Macro {
    std::string_view word;
    const char* fields;
  };
  constexpr std::array kMacros = {Macro{"@hourly", "0 * * * *"},
                                  Macro{"@daily", "0 0 * * *"},
                                  Macro{"@midnight", "0 0 * * *"},
                                  Macro{"@weekly", "0 0 * * 0"},
                                  Macro{"@monthly", "0 0 1 * *"},
                                  Macro{"@yearly", "0 0 1 1 *"},
                                  Macro{"@annually", "0 0 1 1 *"}};
  for (const Macro& known : kMacros) {
    if (known.word == macro) return known.fields;
  }
  return "";
}

// An example of a key that is missing.
std::string ExampleOf(std::string_view path) {
  struct Example {
    std::string_view path;
    const char* text;
  };
  constexpr std::array kExamples = {
      Example{"commands", "write `commands:` and below it a line `  - COMMAND` for each command"},
      Example{"port", "write `port: 8000`, with the port that your program listens on"},
      Example{"model.format", "write `format: openai`, or the name alone: `model: NAME`"},
      Example{"backend", "add a line such as `backend: aws`"},
      Example{"nodes",
              "write `nodes: 0..2` for hosts of a cloud, or `ssh_config:` for your own hosts"},
      Example{"ssh_config.hosts",
              "write `hosts:` and below it a line `    - ADDRESS` for each host"}};
  for (const Example& example : kExamples) {
    if (example.path == path) return example.text;
  }
  const bool is_probe = path.starts_with("probes[") && path.ends_with("].type");
  return is_probe ? "write `- type: http`, and the other keys below `type`" : "";
}

}  // namespace

std::string SuggestForRule(std::string_view path, std::string_view rule, std::string_view value) {
  if (rule.starts_with("is required")) return ExampleOf(path);
  if (HasTypographicQuote(value)) return "write plain quotes (`\"`), or none";
  constexpr std::string_view kExcludes = "cannot be used together with ";
  if (rule.starts_with(kExcludes)) {
    const std::string_view key = path.substr(path.rfind('.') + 1);
    return fmt::format("take out `{}`, or {}", key, rule.substr(kExcludes.size()));
  }
  if (rule.starts_with("needs `scaling`")) {
    return "write `scaling: {metric: rps, target: 10}`, or a single number of replicas";
  }
  if (std::string example = ExampleOfRule(path, rule, value); !example.empty()) return example;
  std::string mended;
  if (path == "name" && value.size() <= kMaxBytes) mended = PlainName(value);
  if (path.starts_with("schedule.cron")) mended = CronOfMacro(value);
  return mended.empty() ? "" : fmt::format("write `{}`", mended);
}

std::string SuggestMount(std::string_view text) {
  constexpr const char* kWholePath =
      "write the whole path on the host, such as `/mnt/data:/data`; files of this machine go below "
      "`files`";
  if (text.size() > kMaxBytes) return "";
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) {
    return text.starts_with('/') ? fmt::format("write `VOLUME:{0}` or `/HOST/PATH:{0}`", text)
                                 : fmt::format("write `{}:/data`, for example", text);
  }
  const std::string_view source = text.substr(0, colon);
  const std::string_view target = text.substr(colon + 1);
  const bool is_path = source.find('/') != std::string_view::npos || source == "." || source == "~";
  if (is_path && !source.starts_with('/')) return kWholePath;
  const bool is_relative =
      !target.empty() && target.find(':') == std::string_view::npos && IsAsciiAlnum(target.front());
  return is_relative && !source.empty() ? fmt::format("write `{}:/{}`", source, target) : "";
}

std::string SuggestVariable(std::string_view text) {
  constexpr const char* kForm = "write `NAME=value`";
  const size_t sign = text.find('=');
  if (sign > kMaxBytes) return kForm;  // also when there is none
  std::string name(TrimBlanks(text.substr(0, sign)));
  for (char& c : name) {
    if (c == '-' || c == '.' || c == ' ') c = '_';
  }
  if (!name.empty() && IsAsciiDigit(name.front())) name = "_" + name;
  return CheckEnvName(name).ok() ? fmt::format("write `{}=...`", name) : kForm;
}

std::string SuggestDuration(std::string_view text) {
  if (text.size() > kMaxBytes) return "";
  const std::string plain = WithoutSpaces(text);
  std::string_view rest = plain;
  double seconds = 0;
  while (!rest.empty()) {
    const std::optional<double> number = ParseDecimal(TakeWhile(&rest, IsNumberPart));
    const double unit = SecondsOfUnit(TakeWhile(&rest, IsAsciiAlpha));
    if (!number || unit == 0) return "";
    seconds += *number * unit;
  }
  const bool is_fit = seconds >= 1 && seconds < 1e9 && std::trunc(seconds) == seconds;
  return is_fit ? FormatDuration(static_cast<int64_t>(seconds)) : "";
}

std::string SuggestSizes(std::string_view text) {
  if (text.size() > kMaxBytes) return "";
  std::string mended;
  bool is_mended = false;
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t colon = rest.find(':');
    const size_t dots = rest.find("..");
    const size_t end = std::min({colon, dots, rest.size()});
    const std::optional<std::string> unit = WithUnit(TrimBlanks(rest.substr(0, end)));
    mended += unit ? *unit : std::string(rest.substr(0, end));
    is_mended = is_mended || unit.has_value();
    const size_t separator = end == rest.size() ? 0 : end == dots ? 2 : 1;
    mended += rest.substr(end, separator);
    rest.remove_prefix(end + separator);
  }
  return is_mended ? mended : "";
}

namespace {

struct Foreign {
  std::string_view word;
  const char* key;
};

// What the same thing is called in Docker, Compose, Kubernetes, Slurm and CI systems.
constexpr std::array kForeign = {
    Foreign{"cmd", "commands"},
    Foreign{"run", "commands"},
    Foreign{"script", "commands"},
    Foreign{"args", "commands"},
    Foreign{"setup", "init"},
    Foreign{"commands", "init"},
    Foreign{"command", "init"},
    Foreign{"environment", "env"},
    Foreign{"cores", "cpu"},
    Foreign{"vcpus", "cpu"},
    Foreign{"ram", "memory"},
    Foreign{"accelerators", "gpu"},
    Foreign{"accelerator", "gpu"},
    Foreign{"storage", "disk"},
    Foreign{"docker_image", "image"},
    Foreign{"container", "image"},
    Foreign{"timeout", "max_duration"},
    Foreign{"time", "max_duration"},
    Foreign{"workdir", "working_dir"},
    Foreign{"cwd", "working_dir"},
    Foreign{"mounts", "volumes"},
    Foreign{"replicas", "nodes"},
    Foreign{"num_nodes", "nodes"},
    Foreign{"instances", "nodes"},
    Foreign{"spot", "spot_policy"},
    Foreign{"restart", "retry"},
    Foreign{"cluster", "placement"},
    Foreign{"address", "hostname"},
    Foreign{"host", "hostname"},
    Foreign{"ip", "hostname"},
    Foreign{"username", "user"},
    Foreign{"key", "identity_file"},
    Foreign{"ssh_key", "identity_file"},
    Foreign{"labels", "tags"},
    Foreign{"zones", "availability_zones"},
    Foreign{"healthcheck", "probes"},
    Foreign{"autoscaling", "scaling"},
    Foreign{"cron", "schedule"},
    Foreign{"job", "task"},
    Foreign{"batch", "task"},
    Foreign{"dev", "dev-environment"},
    Foreign{"notebook", "dev-environment"},
    Foreign{"workspace", "dev-environment"},
    Foreign{"endpoint", "service"},
    Foreign{"deployment", "service"},
    Foreign{"cluster", "fleet"},
    Foreign{"pool", "fleet"},
    Foreign{"disk", "volume"},
};

}  // namespace

std::string SuggestKey(std::string_view word, const std::vector<std::string>& known) {
  const std::string lower = AsciiLower(word);
  for (const Foreign& foreign : kForeign) {
    const bool is_known = std::find(known.begin(), known.end(), foreign.key) != known.end();
    if (foreign.word == lower && is_known) return foreign.key;
  }
  return "";
}

}  // namespace dstack::config
