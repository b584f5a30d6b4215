dstack_add_library(
    mini_docker SRCS mini_docker.cc DEPS PUBLIC dstack::docker dstack::process dstack::testing)
