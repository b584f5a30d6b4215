#include "services/server/domain/spec/shell_words.h"

#include <utility>

namespace dstack::server {
namespace {

class Splitter {
 public:
  explicit Splitter(std::string_view text) : text_(text) {}

  absl::StatusOr<std::vector<std::string>> Split() {
    while (position_ < text_.size()) {
      const char c = text_[position_++];
      if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        EndWord();
      } else if (c == '\'' || c == '"') {
        if (!Quoted(c)) return absl::InvalidArgumentError(std::string("no closing ") + c);
      } else if (c == '\\') {
        if (position_ == text_.size()) return absl::InvalidArgumentError("ends in a backslash");
        Add(text_[position_++]);
      } else {
        Add(c);
      }
    }
    EndWord();
    return std::move(words_);
  }

 private:
  void Add(char c) {
    word_ += c;
    is_in_word_ = true;
  }

  void EndWord() {
    if (is_in_word_) words_.push_back(std::exchange(word_, {}));
    is_in_word_ = false;
  }

  bool Quoted(char quote) {
    is_in_word_ = true;  // '' is an empty word
    while (position_ < text_.size()) {
      char c = text_[position_++];
      if (c == quote) return true;
      if (quote == '"' && c == '\\' && position_ < text_.size() && IsEscapable(text_[position_]))
        c = text_[position_++];
      word_ += c;
    }
    return false;
  }

  static bool IsEscapable(char c) {
    return c == '$' || c == '`' || c == '"' || c == '\\' || c == '\n';
  }

  std::string_view text_;
  std::size_t position_ = 0;
  bool is_in_word_ = false;
  std::string word_;
  std::vector<std::string> words_;
};

}  // namespace

absl::StatusOr<std::vector<std::string>> SplitShellWords(std::string_view text) {
  return Splitter(text).Split();
}

}  // namespace dstack::server
