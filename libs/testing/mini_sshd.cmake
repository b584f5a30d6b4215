dstack_add_library(mini_sshd
  SRCS mini_sshd.cc
  DEPS PUBLIC dstack::testing dstack::ssh)
