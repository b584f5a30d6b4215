#pragma once

#include <string>

namespace dstack::server {

// Takes the reason why something does not fit, if anybody wants to know it: deciding about
// thousands of hosts must not write thousands of sentences.
class Why {
 public:
  // Nobody wants to know.
  Why() = default;
  // `text` outlives this.
  explicit Why(std::string* text) : text_(text) {}

  // Refuses: always false. `make_text` gives the words that follow the name of the host ("needs 2
  // GPUs, has 1").
  template <typename MakeText>
  bool Not(const MakeText& make_text) const {
    if (text_ != nullptr) *text_ = make_text();
    return false;
  }
  bool Not(const char* text) const {
    if (text_ != nullptr) *text_ = text;
    return false;
  }

 private:
  std::string* text_ = nullptr;
};

}  // namespace dstack::server
