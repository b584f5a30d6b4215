# dstack_add_proto_library(name FILES <paths below protos/>... DEPS ...)
#
# Generates C++ into <build>/gen and makes the static library dstack::name. Files with a service
# also get their gRPC stubs. Generated headers are SYSTEM and nothing in them is warned about.
# The library has no dependency on a gRPC or protobuf *library*; see gen/CMakeLists.txt.
set(DSTACK_PROTO_ROOT ${CMAKE_SOURCE_DIR}/protos)
set(DSTACK_GEN_ROOT ${CMAKE_BINARY_DIR}/gen)
# Where the distribution keeps grpc/health/v1/health.proto and its like.
set(DSTACK_GRPC_PROTO_ROOT /usr/share/grpc-proto)

function(_dstack_proto_command file out_sources)
  set(root ${DSTACK_PROTO_ROOT})
  if(NOT EXISTS ${root}/${file})
    set(root ${DSTACK_GRPC_PROTO_ROOT})
  endif()
  string(REGEX REPLACE "\\.proto$" "" stem ${file})
  set(outputs ${DSTACK_GEN_ROOT}/${stem}.pb.cc ${DSTACK_GEN_ROOT}/${stem}.pb.h)
  set(plugin "")
  # A service that appears later changes the list of outputs, so the file is a configure input.
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${root}/${file})
  file(STRINGS ${root}/${file} services REGEX "^service ")
  if(services)
    # In front: the dependency file of protoc begins with the first name in the alphabet, and Ninja
    # runs a command again and again whose first output is another one.
    list(PREPEND outputs ${DSTACK_GEN_ROOT}/${stem}.grpc.pb.cc ${DSTACK_GEN_ROOT}/${stem}.grpc.pb.h)
    set(plugin --grpc_out=${DSTACK_GEN_ROOT}
      --plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin>)
  endif()
  string(REPLACE "/" "_" flat ${stem})
  set(depfile ${CMAKE_CURRENT_BINARY_DIR}/${flat}.d)
  add_custom_command(
    OUTPUT ${outputs}
    COMMAND protobuf::protoc -I${DSTACK_PROTO_ROOT} -I${DSTACK_GRPC_PROTO_ROOT}
            --cpp_out=${DSTACK_GEN_ROOT} ${plugin} --dependency_out=${depfile} ${root}/${file}
    DEPENDS ${root}/${file} protobuf::protoc
    DEPFILE ${depfile}
    COMMENT "protoc ${file}"
    VERBATIM)
  set(${out_sources} ${outputs} PARENT_SCOPE)
endfunction()

# The sources of `target` were written by a program: nobody mends its warnings.
function(dstack_mark_generated target)
  target_compile_options(${target} PRIVATE -w)
  set_target_properties(${target} PROPERTIES CXX_CLANG_TIDY "")
endfunction()

function(dstack_add_proto_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "FILES;DEPS")
  file(MAKE_DIRECTORY ${DSTACK_GEN_ROOT})
  set(sources "")
  foreach(file ${arg_FILES})
    _dstack_proto_command(${file} generated)
    list(APPEND sources ${generated})
  endforeach()
  add_library(dstack_${name} STATIC ${sources})
  target_include_directories(dstack_${name} SYSTEM PUBLIC ${DSTACK_GEN_ROOT})
  dstack_mark_generated(dstack_${name})
  target_link_libraries(dstack_${name} PUBLIC dstack_sanitizers ${arg_DEPS})
  add_library(dstack::${name} ALIAS dstack_${name})
endfunction()
