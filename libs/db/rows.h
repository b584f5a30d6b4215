#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <pqxx/pqxx>

// Values on their way out of a row. NULL gives the empty value of the type.
namespace dstack::db {

inline std::string Text(const pqxx::field& field) {
  return field.is_null() ? std::string() : std::string(field.c_str(), field.size());
}

// View into the result; valid while the result lives.
inline std::string_view TextView(const pqxx::field& field) { return {field.c_str(), field.size()}; }

template <typename Number>
Number As(const pqxx::field& field) {
  return field.is_null() ? Number{} : static_cast<Number>(field.as<std::int64_t>());
}

template <typename Number>
std::optional<Number> OptionalAs(const pqxx::field& field) {
  if (field.is_null()) return std::nullopt;
  return static_cast<Number>(field.as<std::int64_t>());
}

inline bool Bool(const pqxx::field& field) { return !field.is_null() && field.c_str()[0] == 't'; }

// Bytes of a bytea column.
inline std::string Blob(const pqxx::field& field) {
  return field.is_null() ? std::string() : pqxx::binarystring(field).str();
}

// Time of a column that the statement selects as extract(epoch FROM ...), which is the same in
// every DateStyle and time zone and exact to the microsecond.
inline std::chrono::system_clock::time_point EpochTime(const pqxx::field& field) {
  if (field.is_null()) return {};
  const double seconds = std::strtod(field.c_str(), nullptr);
  return std::chrono::system_clock::time_point(
      std::chrono::microseconds(std::llround(seconds * 1e6)));
}

inline std::optional<std::chrono::system_clock::time_point> OptionalEpochTime(
    const pqxx::field& field) {
  if (field.is_null()) return std::nullopt;
  return EpochTime(field);
}

template <typename Id>
std::optional<Id> OptionalId(const pqxx::field& field) {
  if (field.is_null()) return std::nullopt;
  return Id(Text(field));
}

}  // namespace dstack::db
