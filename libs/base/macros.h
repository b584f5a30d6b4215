#pragma once

#include <utility>

// Control flow for absl::Status and absl::StatusOr. Usable in functions that return either.
//
//   RETURN_IF_ERROR(store.Save(run));
//   ASSIGN_OR_RETURN(Run run, store.Load(id));
//   ASSIGN_OR_RETURN(auto by_name, LoadMap());      // auto, where the type has a comma

#define DSTACK_MACRO_CONCAT_INNER(x, y) x##y
#define DSTACK_MACRO_CONCAT(x, y) DSTACK_MACRO_CONCAT_INNER(x, y)

#define RETURN_IF_ERROR(expr)                                 \
  do {                                                        \
    if (auto dstack_status_ = (expr); !dstack_status_.ok()) { \
      return dstack_status_;                                  \
    }                                                         \
  } while (false)

#define ASSIGN_OR_RETURN(lhs, expr) \
  DSTACK_ASSIGN_OR_RETURN_IMPL(DSTACK_MACRO_CONCAT(dstack_status_or_, __COUNTER__), lhs, expr)

// `lhs` may be a declaration.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define DSTACK_ASSIGN_OR_RETURN_IMPL(result, lhs, expr) \
  auto result = (expr);                                 \
  if (!result.ok()) return std::move(result).status();  \
  lhs = *std::move(result)
// NOLINTEND(bugprone-macro-parentheses)
