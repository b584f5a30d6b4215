# Everything comes from the distribution. Protobuf has no CONFIG file there and must be found before
# gRPC, whose CONFIG file wants it.
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Protobuf MODULE REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(fmt CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(Boost 1.81 REQUIRED)
pkg_check_modules(LIBPQXX REQUIRED IMPORTED_TARGET libpqxx)
pkg_check_modules(LIBPQ REQUIRED IMPORTED_TARGET libpq)
pkg_check_modules(LIBZSTD REQUIRED IMPORTED_TARGET libzstd)
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
# dstack::grpc          gRPC with TLS
# dstack::yaml          yaml-cpp
# dstack::archive       libarchive
_dstack_by_name(absl
  absl_status absl_statusor absl_strings absl_cord absl_flat_hash_map absl_flat_hash_set
  absl_cleanup absl_time absl_random_random)
_dstack_by_name(protobuf protobuf)
_dstack_by_name(crypto libcrypto)
_dstack_by_name(grpc grpc++)
_dstack_by_name(yaml yaml-cpp)
_dstack_by_name(archive libarchive)

# For programs linked with -static. The names after the pkg-config output are what its file leaves out.
function(_dstack_static_grpc target package)
  pkg_check_modules(_STATIC_${target} REQUIRED ${package})
  set(libs ${_STATIC_${target}_STATIC_LIBRARIES})
  list(REMOVE_DUPLICATES libs)
  list(TRANSFORM libs PREPEND "-l")
  add_library(dstack_${target} INTERFACE)
  target_link_libraries(dstack_${target} INTERFACE
    -Wl,--start-group ${libs} -lprotobuf -lupb -laddress_sorting -lcares -lre2 -lz ${ARGN} -lcrypto
    -Wl,--end-group Threads::Threads)
  add_library(dstack::${target} ALIAS dstack_${target})
endfunction()

# dstack::grpc_static       gRPC without TLS: the agents
# dstack::grpc_tls_static   gRPC with TLS: the command line
if(DSTACK_SANITIZE)
  # Nothing is static then, and the shared reflection library brings the gRPC with TLS: both in one
  # process share symbols and hang at the first call.
  _dstack_static_grpc(grpc_static grpc++ -lssl)
else()
  _dstack_static_grpc(grpc_static grpc++_unsecure)
endif()
_dstack_static_grpc(grpc_tls_static grpc++ -lssl)
