# The only ways to make a target. Sources are listed by hand; includes are written from the root of
# the repository ("libs/base/status.h").
#
#   dstack_add_library(name SRCS ... DEPS [PUBLIC|PRIVATE|INTERFACE] ...)   static, alias dstack::name;
#                                                            without SRCS it is header only
#   dstack_add_executable(name SRCS ... DEPS ... [STATIC])   goes to <build>/bin; with a sanitizer
#                                                            nothing is static: its runtime cannot be
#   dstack_add_test(name LABEL unit|contract|component|e2e|fault SRCS ... DEPS ...
#                   [RESOURCE_LOCK lock] [TIMEOUT seconds] [NEEDS target...])
#     One CTest test per TEST_CASE; a name that begins with a row id ("S15 ...") adds the label
#     conformance, and must not hold a semicolon then. A test that cannot run here prints "SKIPPED: <reason>" and
#     returns. NEEDS names programs that must be built first. Goes to <build>/test-bin.
# The C++ target of a test or program is `name` itself; that of a library is dstack_<name>.

function(_dstack_link target deps)
  if(deps)
    list(GET deps 0 first)
    if(first MATCHES "^(PUBLIC|PRIVATE|INTERFACE)$")
      target_link_libraries(${target} ${deps})
    else()
      target_link_libraries(${target} PUBLIC ${deps})
    endif()
  endif()
endfunction()

function(dstack_add_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SRCS;DEPS")
  if(arg_SRCS)
    add_library(dstack_${name} STATIC ${arg_SRCS})
    target_include_directories(dstack_${name} PUBLIC ${CMAKE_SOURCE_DIR})
    target_link_libraries(dstack_${name} PRIVATE
      $<BUILD_INTERFACE:dstack_warnings> PUBLIC dstack_sanitizers Threads::Threads)
    _dstack_link(dstack_${name} "${arg_DEPS}")
  else()
    add_library(dstack_${name} INTERFACE)
    target_include_directories(dstack_${name} INTERFACE ${CMAKE_SOURCE_DIR})
    list(REMOVE_ITEM arg_DEPS PUBLIC PRIVATE INTERFACE)
    target_link_libraries(dstack_${name} INTERFACE ${arg_DEPS})
  endif()
  add_library(dstack::${name} ALIAS dstack_${name})
endfunction()

function(dstack_add_executable name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "STATIC" "" "SRCS;DEPS")
  add_executable(${name} ${arg_SRCS})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  target_link_libraries(${name} PRIVATE dstack_warnings dstack_sanitizers)
  list(REMOVE_ITEM arg_DEPS PUBLIC PRIVATE INTERFACE)
  target_link_libraries(${name} PRIVATE ${arg_DEPS})
  if(arg_STATIC AND DSTACK_SANITIZE)
    add_dependencies(${name} static_agents)
  elseif(arg_STATIC)
    target_link_options(${name} PRIVATE -static)
  endif()
endfunction()

function(dstack_add_test name)
  if(NOT DSTACK_TESTS)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "LABEL;RESOURCE_LOCK;TIMEOUT" "SRCS;DEPS;NEEDS")
  if(NOT arg_LABEL MATCHES "^(unit|contract|component|e2e|fault)$")
    message(FATAL_ERROR "dstack_add_test(${name}): LABEL is '${arg_LABEL}'")
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_executable(${name} ${arg_SRCS})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test-bin)
  list(REMOVE_ITEM arg_DEPS PUBLIC PRIVATE INTERFACE)
  target_link_libraries(${name} PRIVATE
    dstack_warnings dstack_sanitizers ${arg_DEPS} dstack::catch_main)
  if(arg_NEEDS)
    add_dependencies(${name} ${arg_NEEDS})
  endif()
  set(properties LABELS ${arg_LABEL} TIMEOUT ${arg_TIMEOUT} SKIP_REGULAR_EXPRESSION "SKIPPED: ")
  if(arg_LABEL STREQUAL "fault")
    # First: they wait more than they work, and one that begins last is waited for alone.
    list(APPEND properties COST 1000)
  endif()
  if(arg_RESOURCE_LOCK)
    list(APPEND properties RESOURCE_LOCK ${arg_RESOURCE_LOCK})
  endif()
  catch_discover_tests(${name} TEST_PREFIX "${name}: " PROPERTIES ${properties})
  dstack_label_conformance(${name} ${arg_LABEL})
endfunction()

# Cases whose names begin with a row id get the label `conformance` too.
function(dstack_label_conformance test_program test_label)
  set(script ${CMAKE_CURRENT_BINARY_DIR}/${test_program}_conformance.cmake)
  configure_file(${CMAKE_SOURCE_DIR}/libs/cmake/LabelConformance.cmake.in ${script} @ONLY)
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${script})
endfunction()
