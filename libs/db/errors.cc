#include "libs/db/errors.h"

#include <array>
#include <string_view>

#include <fmt/format.h>
#include <pqxx/pqxx>

#include "libs/base/status.h"

namespace dstack::db {
namespace {

using absl::StatusCode;

constexpr std::string_view kUnavailable = "DATABASE_UNAVAILABLE";

// Messages of libpq end in a newline and carry the statement's position on further lines.
std::string FirstLine(const char* what) {
  std::string_view text(what);
  return std::string(text.substr(0, text.find('\n')));
}

Failure Failed(StatusCode code, std::string_view reason, std::string_view what, Recovery recovery) {
  return {base::Error(code, reason, fmt::format("database: {}", what)), recovery};
}

// Classes of https://www.postgresql.org/docs/15/errcodes-appendix.html that exceptions of libpqxx
// do not tell apart.
Failure ClassifySql(const pqxx::sql_error& error) {
  const std::string& state = error.sqlstate();
  const std::string what = FirstLine(error.what());
  if (state == "40001" || state == "40P01" || state == "55P03") {
    return Failed(StatusCode::kAborted, "LEASE_LOST", what, Recovery::kRetry);
  }
  if (state == "57014") {
    return Failed(StatusCode::kDeadlineExceeded, kUnavailable, what, Recovery::kNone);
  }
  if (state == "23505") {
    return {base::Error(StatusCode::kAlreadyExists,
                        "NAME_TAKEN",
                        fmt::format("database: {}", what),
                        {{"constraint", ConstraintOf(error.what())}}),
            Recovery::kNone};
  }
  // A prepared statement that is gone, or whose tables a migration changed meanwhile: a new
  // connection prepares it anew.
  if (state == "26000" || (state == "0A000" && what.find("cached plan") != std::string::npos)) {
    return Failed(StatusCode::kUnavailable, kUnavailable, what, Recovery::kReconnect);
  }
  const std::string state_class = state.substr(0, 2);
  if (state_class == "08" || state_class == "57" || state == "53300" || state == "25006") {
    return Failed(StatusCode::kUnavailable, kUnavailable, what, Recovery::kReconnect);
  }
  if (state_class == "53" || state_class == "58") {
    return Failed(StatusCode::kResourceExhausted, kUnavailable, what, Recovery::kNone);
  }
  return Failed(StatusCode::kInternal, "INTERNAL", what, Recovery::kNone);
}

}  // namespace

std::string ConstraintOf(const std::string& message) {
  const std::string_view marker = "constraint \"";
  const auto begin = message.find(marker);
  if (begin == std::string::npos) return {};
  const auto name = begin + marker.size();
  return message.substr(name, message.find('"', name) - name);
}

Failure ClassifyCurrentException() {
  try {
    throw;
  } catch (const pqxx::in_doubt_error& error) {
    return Failed(StatusCode::kAborted, kUnavailable, FirstLine(error.what()), Recovery::kNone);
  } catch (const pqxx::statement_completion_unknown& error) {
    return Failed(StatusCode::kAborted, kUnavailable, FirstLine(error.what()), Recovery::kNone);
  } catch (const pqxx::transaction_rollback& error) {
    return Failed(StatusCode::kAborted, "LEASE_LOST", FirstLine(error.what()), Recovery::kRetry);
  } catch (const pqxx::broken_connection& error) {
    return Failed(
        StatusCode::kUnavailable, kUnavailable, FirstLine(error.what()), Recovery::kReconnect);
  } catch (const pqxx::sql_error& error) {
    return ClassifySql(error);
  } catch (const std::exception& error) {
    return Failed(StatusCode::kInternal, "INTERNAL", FirstLine(error.what()), Recovery::kNone);
  }
}

}  // namespace dstack::db
