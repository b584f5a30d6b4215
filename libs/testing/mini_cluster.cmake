dstack_add_library(mini_cluster SRCS live_program.cc mini_cluster.cc DEPS PUBLIC
                       dstack::testing dstack::process dstack::mini_docker dstack::mini_sshd
                           nlohmann_json::nlohmann_json PRIVATE dstack::net util)
