#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace dstack::gpu_probe {

// Writes one JSON object on one line. The program links neither the JSON library nor streams, so
// that it stays small and starts on hosts with any C++ library.
class JsonLine {
 public:
  JsonLine() : text_("{") {}

  JsonLine& Text(const char* key, const std::string& value);
  JsonLine& Number(const char* key, std::uint64_t value);
  JsonLine& Decimal(const char* key, double value);
  // `value` is JSON already.
  JsonLine& Raw(const char* key, const std::string& value);
  // With the closing brace.
  std::string Take() { return std::move(text_) + "}"; }

 private:
  void Key(const char* key);

  std::string text_;
};

// "[a,b]" of parts that are JSON already.
class JsonList {
 public:
  void Add(const std::string& item) { text_ += (text_.size() > 1 ? "," : "") + item; }
  std::string Take() { return std::move(text_) + "]"; }

 private:
  std::string text_ = "[";
};

// Prints a line at once; ends the program when nobody reads it any more. Thread-safe.
void PrintLine(const std::string& line);

}  // namespace dstack::gpu_probe
