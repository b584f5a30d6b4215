# dstack_sanitizers: linked by every target, generated code included, so that containers that cross
# the border are annotated on both sides.
add_library(dstack_sanitizers INTERFACE)
if(DSTACK_SANITIZE)
  target_compile_options(dstack_sanitizers INTERFACE
    -fsanitize=${DSTACK_SANITIZE} -fno-sanitize-recover=all
    # libstdc++ and protobuf of the distribution are not built for these two.
    $<$<CXX_COMPILER_ID:Clang>:-fno-sanitize=vptr>)
  target_link_options(dstack_sanitizers INTERFACE -fsanitize=${DSTACK_SANITIZE})
endif()
if(DSTACK_SANITIZE)
  # Images and hosts of tests may have no libraries for a program that is not static: they get agents
  # that are built without the sanitizer (testing::StaticBinary).
  add_custom_target(static_agents
    COMMAND ${CMAKE_COMMAND} --preset agents -B ${CMAKE_BINARY_DIR}/static
    COMMAND ${CMAKE_COMMAND} --build ${CMAKE_BINARY_DIR}/static --target dstack-shim dstack-runner
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
    VERBATIM)
endif()
if(DSTACK_FUZZ)
  target_compile_options(dstack_sanitizers INTERFACE -fsanitize=fuzzer-no-link)
endif()
