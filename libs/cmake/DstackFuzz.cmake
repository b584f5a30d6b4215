# dstack_add_fuzzer(name SRCS ... DEPS ...)
#
# The sources define LLVMFuzzerTestOneInput (tests/fuzz/fuzz.h). In the preset `fuzz` this makes the
# libFuzzer program <build>/fuzz-bin/<name>, which the target `fuzzers` builds together with all
# others and tests/fuzz/run.sh runs. In every other preset it makes a program that replays each file
# of tests/fuzz/corpus/<name>/, as the CTest test "<name>: corpus" with the label unit: a found case
# that was mended stays mended. tests/fuzz/<name>.dict, where it exists, is the dictionary.
function(dstack_add_fuzzer name)
  if(NOT DSTACK_TESTS)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SRCS;DEPS")
  add_executable(${name}_fuzz ${arg_SRCS})
  target_include_directories(${name}_fuzz PRIVATE ${CMAKE_SOURCE_DIR})
  list(REMOVE_ITEM arg_DEPS PUBLIC PRIVATE INTERFACE)
  target_link_libraries(${name}_fuzz PRIVATE dstack_warnings dstack_sanitizers ${arg_DEPS})
  if(DSTACK_FUZZ)
    if(NOT TARGET fuzzers)
      add_custom_target(fuzzers)
    endif()
    add_dependencies(fuzzers ${name}_fuzz)
    set_target_properties(${name}_fuzz PROPERTIES
      OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz-bin)
    target_link_options(${name}_fuzz PRIVATE -fsanitize=fuzzer)
    return()
  endif()
  set_target_properties(${name}_fuzz PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test-bin)
  target_link_libraries(${name}_fuzz PRIVATE dstack::fuzz_replay)
  add_test(NAME "${name}: corpus"
    COMMAND ${name}_fuzz ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${name})
  set_tests_properties("${name}: corpus" PROPERTIES LABELS unit TIMEOUT 120)
endfunction()
