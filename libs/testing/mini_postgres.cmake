dstack_add_library(mini_postgres
  SRCS mini_postgres.cc
  DEPS
    PUBLIC dstack::testing dstack::db dstack::postgres_cluster)
