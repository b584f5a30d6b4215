#include "services/shim/domain/container_name.h"

#include <catch2/catch.hpp>

namespace dstack::shim {
namespace {

TEST_CASE("S15 the vectors of the container name") {
  CHECK(ContainerName("vllm-0-0", "66a886db-86db-4cf9-8c06-8984ad15dde2") == "vllm-0-0-cff1b8da");
  CHECK(ContainerName("vllm-0-0", "41728e34-bf7e-41da-bf0e-0f46764b1752") == "vllm-0-0-bb2a28c3");
  CHECK(ContainerName("llamacpp-0-0", "66a886db-86db-4cf9-8c06-8984ad15dde2") ==
        "llamacpp-0-0-58d1283d");
}

}  // namespace
}  // namespace dstack::shim
