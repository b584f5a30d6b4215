# Everything comes from the distribution. Protobuf has no CONFIG file there and must be found before
# gRPC, whose CONFIG file wants it.
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Protobuf MODULE REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(yaml-cpp CONFIG REQUIRED)
find_package(fmt CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(CURL REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(LibArchive REQUIRED)
find_package(Boost 1.81 REQUIRED)
pkg_check_modules(LIBPQXX REQUIRED IMPORTED_TARGET libpqxx)
pkg_check_modules(LIBPQ REQUIRED IMPORTED_TARGET libpq)
pkg_check_modules(LIBZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(LIBEDIT REQUIRED IMPORTED_TARGET libedit)
if(DSTACK_TESTS)
  find_package(Catch2 2 CONFIG REQUIRED)
  include(Catch)
endif()

# Linkage by name, not by path: the same library target then serves an ordinary program (the linker
# takes the .so) and the fully static runner (with -static it takes the .a). The imported targets of
# the distribution name the .so files and cannot be used below a static program.
function(_dstack_by_name target)
  pkg_check_modules(_BY_NAME_${target} REQUIRED ${ARGN})
  add_library(dstack_${target} INTERFACE)
  target_link_options(dstack_${target} INTERFACE ${_BY_NAME_${target}_LDFLAGS_OTHER})
  list(REMOVE_DUPLICATES _BY_NAME_${target}_LIBRARIES)
  target_link_libraries(dstack_${target} INTERFACE ${_BY_NAME_${target}_LIBRARIES})
  add_library(dstack::${target} ALIAS dstack_${target})
endfunction()

# dstack::absl          the parts of Abseil that everything may use
# dstack::protobuf      libprotobuf
# dstack::crypto        libcrypto of OpenSSL
_dstack_by_name(absl
  absl_status absl_statusor absl_strings absl_cord absl_flat_hash_map absl_flat_hash_set
  absl_cleanup absl_time absl_random_random)
_dstack_by_name(protobuf protobuf)
_dstack_by_name(crypto libcrypto)

# dstack::grpc_static   gRPC without TLS, for programs linked with -static (the runner). The names
# after the pkg-config output are what its file leaves out.
pkg_check_modules(_GRPC_UNSECURE REQUIRED grpc++_unsecure)
set(_libs ${_GRPC_UNSECURE_STATIC_LIBRARIES})
list(REMOVE_DUPLICATES _libs)
list(TRANSFORM _libs PREPEND "-l")
add_library(dstack_grpc_static INTERFACE)
target_link_libraries(dstack_grpc_static INTERFACE
  -Wl,--start-group ${_libs} -lprotobuf -lupb -laddress_sorting -lcares -lre2 -lz -lcrypto
  -Wl,--end-group Threads::Threads)
add_library(dstack::grpc_static ALIAS dstack_grpc_static)
