#include "libs/config/secret_text.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "libs/config/text.h"

namespace dstack::config {

namespace {

template <size_t N>
bool IsOneOf(std::string_view text, const std::array<std::string_view, N>& words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

// The words of `HF_TOKEN`, `api-key`, `PassPhrase`, in lower case.
std::vector<std::string> WordsOf(std::string_view key) {
  std::vector<std::string> words(1);
  for (size_t i = 0; i < key.size(); ++i) {
    const bool is_upper = key[i] >= 'A' && key[i] <= 'Z';
    const bool begins_word = is_upper && i > 0 && key[i - 1] >= 'a' && key[i - 1] <= 'z';
    if (!IsAsciiAlnum(key[i]) || begins_word) words.emplace_back();
    if (IsAsciiAlnum(key[i])) words.back() += AsciiLower(key.substr(i, 1));
  }
  std::erase(words, "");
  return words;
}

bool IsSecretWord(const std::string& word, bool is_alone) {
  constexpr std::array<std::string_view, 10> kShort = {
      "pass", "pwd", "env", "envs", "cred", "creds", "pat", "jwt", "bearer", "cookie"};
  // On their own they are keys of documents that hide nothing.
  constexpr std::array<std::string_view, 3> kInNames = {"key", "keys", "auth"};
  static const std::vector<std::string> kLong = {"password",
                                                 "passwd",
                                                 "passphrase",
                                                 "token",
                                                 "secret",
                                                 "credentials",
                                                 "authorization",
                                                 "environment",
                                                 "apikey"};
  if (IsOneOf(word, kShort) || (!is_alone && IsOneOf(word, kInNames))) return true;
  return word.size() >= 5 && Nearest(word, kLong).has_value();
}

bool IsTokenPart(char c) { return IsAsciiAlnum(c) || c == '_' || c == '-'; }

// What tokens of well-known services begin with.
bool HoldsToken(std::string_view text) {
  constexpr std::array<std::string_view, 13> kBeginnings = {"hf_",
                                                            "ghp_",
                                                            "gho_",
                                                            "ghs_",
                                                            "github_pat_",
                                                            "glpat-",
                                                            "sk-",
                                                            "xoxb-",
                                                            "xoxp-",
                                                            "AKIA",
                                                            "ASIA",
                                                            "eyJ",
                                                            "dckr_pat_"};
  constexpr size_t kLeastBytes = 12;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i > 0 && IsTokenPart(text[i - 1])) continue;
    for (const std::string_view beginning : kBeginnings) {
      if (!text.substr(i).starts_with(beginning)) continue;
      size_t end = i + beginning.size();
      while (end < text.size() && IsTokenPart(text[end])) ++end;
      if (end - i >= beginning.size() + kLeastBytes) return true;
    }
  }
  return false;
}

// `https://user:password@host`, `https://token@host`.
bool HoldsPasswordOfUrl(std::string_view text) {
  for (size_t at = text.find("://"); at != std::string_view::npos; at = text.find("://", at + 1)) {
    const std::string_view rest = text.substr(at + 3);
    const std::string_view authority = rest.substr(0, rest.find_first_of("/ \"'\n"));
    const size_t sign = authority.rfind('@');
    if (sign == std::string_view::npos) continue;
    const bool is_http = text.substr(0, at).ends_with("http") || text.substr(0, at).ends_with("s");
    if (is_http || authority.substr(0, sign).find(':') != std::string_view::npos) return true;
  }
  return false;
}

// `Bearer 1a2b...`: what follows the word is long and no word itself.
bool HoldsAuthorization(std::string_view text) {
  constexpr size_t kLeastBytes = 12;
  const std::string lower = AsciiLower(text);
  for (const std::string_view scheme : {"bearer ", "basic "}) {
    for (size_t at = lower.find(scheme); at != std::string::npos; at = lower.find(scheme, at + 1)) {
      const std::string_view rest = std::string_view(lower).substr(at + scheme.size());
      const std::string_view word = rest.substr(0, rest.find_first_of(" \"'\n"));
      const bool has_digit = std::any_of(word.begin(), word.end(), IsAsciiDigit);
      if (word.size() >= kLeastBytes && has_digit && word.front() != '$') return true;
    }
  }
  return false;
}

// A long run of letters and digits that no word has: a line of a key, a token.
bool HoldsEncoded(std::string_view text) {
  constexpr size_t kLeastBytes = 24;
  size_t begin = 0;
  while (begin < text.size()) {
    size_t end = begin;
    bool has_digit = false;
    bool has_letter = false;
    while (end < text.size() && (IsAsciiAlnum(text[end]) || text[end] == '+' || text[end] == '/')) {
      has_digit = has_digit || IsAsciiDigit(text[end]);
      has_letter = has_letter || IsAsciiAlpha(text[end]);
      ++end;
    }
    if (end - begin >= kLeastBytes && has_digit && has_letter) return true;
    begin = end + 1;
  }
  return false;
}

// The words of a line that stand in front of a `:`, quoted or not.
std::vector<std::string> KeysOfLine(std::string_view line) {
  std::vector<std::string> keys;
  for (size_t colon = line.find(':'); colon != std::string_view::npos;
       colon = line.find(':', colon + 1)) {
    size_t end = colon;
    while (end > 0 && (line[end - 1] == ' ' || line[end - 1] == '"' || line[end - 1] == '\''))
      --end;
    size_t begin = end;
    while (begin > 0 && IsTokenPart(line[begin - 1])) --begin;
    if (begin < end) keys.emplace_back(line.substr(begin, end - begin));
  }
  return keys;
}

bool HasSecretKey(std::string_view line) {
  const std::vector<std::string> keys = KeysOfLine(line);
  return std::any_of(keys.begin(), keys.end(), NamesSecret);
}

bool IsSecretLine(std::string_view line) {
  const std::string lower = AsciiLower(line);
  constexpr std::array kWords = {"token", "password", "secret", "key", "="};
  const bool has_word = std::any_of(kWords.begin(), kWords.end(), [&](const char* word) {
    return lower.find(word) != std::string::npos;
  });
  return has_word || HasSecretKey(line) || LooksSecret(line) || HoldsEncoded(line);
}

// Where the first thing of a line stands that is no blank and no `- `; npos in an empty one.
size_t IndentationOf(std::string_view line) { return line.find_first_not_of(" -\t"); }

}  // namespace

bool NamesSecret(std::string_view key) {
  const std::vector<std::string> words = WordsOf(key.substr(0, 128));
  return std::any_of(words.begin(), words.end(), [&](const std::string& word) {
    return IsSecretWord(word, words.size() == 1);
  });
}

bool LooksSecret(std::string_view text) {
  return text.find("PRIVATE KEY") != std::string_view::npos || HoldsToken(text) ||
         HoldsPasswordOfUrl(text) || HoldsAuthorization(text);
}

bool MayHoldSecret(std::string_view source, int line) {
  // A key far above would need a document of its own.
  constexpr size_t kMostLinesAbove = 2000;
  size_t begin = 0;
  std::vector<std::string_view> lines;
  for (int i = 0; i < line && begin <= source.size(); ++i) {
    const size_t end = std::min(source.find('\n', begin), source.size());
    lines.push_back(source.substr(begin, end - begin));
    begin = end + 1;
  }
  if (lines.empty()) return false;
  if (IsSecretLine(lines.back())) return true;
  size_t indentation = IndentationOf(lines.back());
  // A line without a key may continue the value of whatever is above it.
  bool continues = KeysOfLine(lines.back()).empty();
  size_t seen = 0;
  for (auto above = lines.rbegin() + 1; above != lines.rend() && seen < kMostLinesAbove;
       ++above, ++seen) {
    const size_t start = IndentationOf(*above);
    if (start == std::string_view::npos || (*above)[start] == '#') continue;
    if (start >= indentation && !continues) continue;
    if (continues ? IsSecretLine(*above) : HasSecretKey(*above)) return true;
    continues = continues && KeysOfLine(*above).empty();
    indentation = std::min(indentation, start);
  }
  return false;
}

std::string ShownKey(std::string_view key) {
  if (LooksSecret(key)) return "***";
  const size_t sign = key.find('=');
  if (sign == std::string_view::npos) return Excerpt(key);
  return Excerpt(key.substr(0, sign)) + "=***";
}

}  // namespace dstack::config
