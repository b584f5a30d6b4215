#include "services/shim/domain/authorized_keys.h"

#include <algorithm>
#include <array>
#include <utility>

#include <absl/strings/escaping.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>
#include <fmt/format.h>

#include "libs/base/sha256.h"
#include "libs/base/status.h"

namespace dstack::shim {
namespace {

constexpr std::size_t kMaxLineBytes = std::size_t{16} << 10;

constexpr std::array<std::string_view, 8> kKeyTypes = {"ssh-ed25519",
                                                       "ssh-rsa",
                                                       "ecdsa-sha2-nistp256",
                                                       "ecdsa-sha2-nistp384",
                                                       "ecdsa-sha2-nistp521",
                                                       "sk-ssh-ed25519@openssh.com",
                                                       "sk-ecdsa-sha2-nistp256@openssh.com",
                                                       "ssh-dss"};

bool IsKeyType(std::string_view word) {
  return std::find(kKeyTypes.begin(), kKeyTypes.end(), word) != kKeyTypes.end();
}

// The key's own bytes begin with the length and the name of its type.
bool NamesType(const std::string& bytes, std::string_view type) {
  if (bytes.size() < 4 + type.size()) return false;
  std::size_t length = 0;
  for (std::size_t i = 0; i < 4; ++i) length = length << 8U | static_cast<unsigned char>(bytes[i]);
  return length == type.size() && std::string_view(bytes).substr(4, length) == type;
}

std::string Marker(std::string_view owner) { return fmt::format("dstack-shim:{}", owner); }

bool IsOurs(std::string_view line, std::string_view owner) {
  return line.starts_with("restrict,") && line.ends_with(" " + Marker(owner));
}

// The key of an authorized_keys line, whatever options stand in front of it. Options may hold
// quoted blanks; the type's name does not occur in them, and if it did the line would only be taken
// for one that has the key.
std::string KeyBytes(std::string_view line) {
  if (line.starts_with('#')) return "";
  for (const absl::string_view word : absl::StrSplit(base::ToAbsl(line), absl::ByAnyChar(" \t"))) {
    if (!IsKeyType(base::ToStd(word))) continue;
    const std::size_t at = static_cast<std::size_t>(word.data() - line.data());
    if (const auto key = ParsePublicKey(line.substr(at))) return key->base64;
  }
  return "";
}

std::vector<std::string_view> Lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == text.npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

}  // namespace

std::optional<PublicKey> ParsePublicKey(std::string_view line) {
  const bool has_control = std::any_of(line.begin(), line.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 && c != '\t';
  });
  if (line.size() > kMaxLineBytes || has_control) return std::nullopt;
  const std::vector<std::string> words = absl::StrSplit(
      absl::StripAsciiWhitespace(base::ToAbsl(line)), absl::MaxSplits(absl::ByAnyChar(" \t"), 2));
  if (words.size() < 2 || !IsKeyType(words[0])) return std::nullopt;
  std::string bytes;
  if (!absl::Base64Unescape(words[1], &bytes) || !NamesType(bytes, words[0])) return std::nullopt;
  return PublicKey{
      .type = words[0], .base64 = words[1], .comment = words.size() > 2 ? words[2] : ""};
}

std::string Fingerprint(std::string_view line) {
  const auto key = ParsePublicKey(line);
  if (!key) return "";
  std::string bytes;
  absl::Base64Unescape(key->base64, &bytes);
  std::string digest;
  absl::Base64Escape(base::Sha256Bytes(bytes), &digest);
  while (digest.ends_with('=')) digest.pop_back();
  return "SHA256:" + digest;
}

bool IsSameKey(std::string_view a, std::string_view b) {
  const auto key_a = ParsePublicKey(a);
  const auto key_b = ParsePublicKey(b);
  return key_a && key_b && key_a->base64 == key_b->base64;
}

std::string JumpLine(const JumpKey& key, std::string_view owner) {
  const auto parsed = ParsePublicKey(key.line);
  if (!parsed) return "";
  // "restrict" alone would still let the key run commands.
  std::string options = "restrict,command=\"false\"";
  if (!key.ports.empty()) options += ",port-forwarding";
  for (const std::uint16_t port : key.ports) {
    options += fmt::format(",permitopen=\"127.0.0.1:{}\"", port);
  }
  return fmt::format("{} {} {} {}", options, parsed->type, parsed->base64, Marker(owner));
}

std::string WithJumpKeys(std::string_view text,
                         const std::vector<JumpKey>& keys,
                         std::string_view owner) {
  std::vector<std::pair<std::string, JumpKey>> wanted;  // by the key itself, in the given order
  const auto find = [&](const std::string& base64) {
    return std::find_if(
        wanted.begin(), wanted.end(), [&](const auto& entry) { return entry.first == base64; });
  };
  for (const JumpKey& key : keys) {
    const auto parsed = ParsePublicKey(key.line);
    if (!parsed) continue;
    const auto it = find(parsed->base64);
    if (it == wanted.end()) {
      wanted.emplace_back(parsed->base64, key);
    } else {
      it->second.ports.insert(key.ports.begin(), key.ports.end());
    }
  }
  std::string result;
  for (const std::string_view line : Lines(text)) {
    if (IsOurs(line, owner)) continue;
    if (const auto it = find(KeyBytes(line)); it != wanted.end()) wanted.erase(it);
    result.append(line);
    result.push_back('\n');
  }
  // A last line without its newline stays so, unless something follows.
  if (wanted.empty() && !text.ends_with('\n') && !result.empty() &&
      !IsOurs(Lines(text).back(), owner)) {
    result.pop_back();
  }
  for (const auto& [base64, key] : wanted) result += JumpLine(key, owner) + "\n";
  return result;
}

}  // namespace dstack::shim
