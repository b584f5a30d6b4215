#include "services/runner/usage/gpu_csv.h"

#include <catch2/catch.hpp>

#include "libs/base/status.h"

namespace dstack::runner {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

void CheckSamples(const absl::StatusOr<std::vector<v1::GpuMetrics>>& got,
                  const std::vector<std::pair<std::uint64_t, double>>& expected) {
  INFO(got.status());
  REQUIRE(got.ok());
  REQUIRE(got->size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CHECK((*got)[i].memory_used_bytes() == expected[i].first * kMiB);
    CHECK((*got)[i].utilization_ratio() == Approx(expected[i].second));
  }
}

TEST_CASE("M1 output of amd-smi is read by its header, in two generations") {
  CheckSamples(ParseAmdSmi("gpu,gfx,gfx_clock,vram_used,vram_total\n"
                           "0,36,132,1708,196300\n"
                           "1,0,131,283,196300\n"),
               {{1708, 0.36}, {283, 0}});
  CheckSamples(ParseAmdSmi("gpu,xcp,vram_used,vram_free,vram_total,vram_percent,gfx,gfx_clk\r\n"
                           "0,0,283 MB,196018,196301,0.14,100 %,2104\r\n"),
               {{283, 1}});
}

TEST_CASE("M1 a utilization of N/A, a missing column and no header are errors") {
  const auto unknown =
      ParseAmdSmi("gpu,gfx,gfx_clock,vram_used,vram_total\n0,N/A,N/A,283,196300\n");
  CHECK(unknown.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(base::Message(unknown.status()) == "utilization is \"N/A\", not a number");
  CHECK_FALSE(ParseAmdSmi("gpu,vram_used\n0,1\n").ok());
  CHECK_FALSE(ParseAmdSmi("").ok());
  CHECK_FALSE(ParseAmdSmi("gpu,gfx,vram_used\n0\n").ok());
}

TEST_CASE("output of nvidia-smi") {
  CheckSamples(ParseNvidiaSmi("1024, 35\n0, 0\n"), {{1024, 0.35}, {0, 0}});
  CheckSamples(ParseNvidiaSmi(""), {});
  CHECK_FALSE(ParseNvidiaSmi("1024, [N/A]\n").ok());
  CHECK_FALSE(ParseNvidiaSmi("No devices were found\n").ok());
  CHECK_FALSE(ParseNvidiaSmi("-1, 0\n").ok());
  CHECK_FALSE(ParseNvidiaSmi("nan, 0\n").ok());
  // More bytes than 64 bits count.
  CHECK_FALSE(ParseNvidiaSmi("822222222222222222222222222222222222222222222222, 3\n").ok());
}

TEST_CASE("output of hl-smi, with and without the sign") {
  CheckSamples(ParseHlSmi("672, 0\n"), {{672, 0}});
  CheckSamples(ParseHlSmi("32768, 97%\n672, 3 %\n"), {{32768, 0.97}, {672, 0.03}});
}

}  // namespace
}  // namespace dstack::runner
