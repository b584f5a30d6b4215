#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <pqxx/pqxx>

// Values on their way into a statement. Everything is a parameter: no SQL text is built from data.
namespace dstack::db {

// A parameter in text form, or NULL.
struct Param {
  std::optional<std::string> text;
};

// Text that PostgreSQL accepts: NUL and bytes that are not UTF-8 become U+FFFD.
std::string CleanText(std::string_view text);

// Array literal "{...}" with every element quoted; cast it in the statement ($1::uuid[]).
std::string ArrayLiteral(const std::vector<std::string>& elements);

// The same with NULL for absent elements.
std::string ArrayLiteral(const std::vector<std::optional<std::string>>& elements);

// "\x..." form of bytea.
std::string BytesLiteral(std::string_view bytes);

// Timestamp with microseconds in UTC, in the ISO form that every session setting understands.
std::string TimeLiteral(std::chrono::system_clock::time_point time);

inline Param Null() { return {}; }

inline Param Time(std::chrono::system_clock::time_point time) { return {TimeLiteral(time)}; }
inline Param Time(const std::optional<std::chrono::system_clock::time_point>& time) {
  return time ? Time(*time) : Null();
}

// NULL for an empty id.
template <typename Id>
Param IdOrNull(const Id& id) {
  return id.empty() ? Null() : Param{id.str()};
}
template <typename Id>
Param IdOrNull(const std::optional<Id>& id) {
  return id ? IdOrNull(*id) : Null();
}

template <typename Number>
Param Optional(const std::optional<Number>& number) {
  return number ? Param{std::to_string(*number)} : Null();
}

inline Param OptionalBytes(const std::optional<std::string>& bytes) {
  return bytes ? Param{BytesLiteral(*bytes)} : Null();
}

// Binary parameter for bytea.
inline pqxx::binarystring Bytes(const std::string& bytes) { return pqxx::binarystring(bytes); }

// Unsigned 64-bit values live in bigint columns; none of ours comes near the top bit.
inline std::int64_t Big(std::uint64_t value) { return static_cast<std::int64_t>(value); }

// Ids as an array parameter.
template <typename Id>
std::string IdArray(const std::vector<Id>& ids) {
  std::vector<std::string> elements;
  elements.reserve(ids.size());
  for (const Id& id : ids) elements.push_back(id.str());
  return ArrayLiteral(elements);
}

}  // namespace dstack::db

namespace pqxx {

// Lets exec_params take a Param.
template <>
struct string_traits<dstack::db::Param> {
  static constexpr const char* name() noexcept { return "dstack::db::Param"; }
  static constexpr bool has_null() noexcept { return true; }
  static bool is_null(const dstack::db::Param& param) { return !param.text.has_value(); }
  static dstack::db::Param null() { return {}; }
  static std::string to_string(const dstack::db::Param& param) { return *param.text; }
};

}  // namespace pqxx
