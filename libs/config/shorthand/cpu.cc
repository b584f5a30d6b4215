#include "libs/config/shorthand/cpu.h"

#include <fmt/format.h>

#include "libs/config/shorthand/range.h"
#include "libs/config/text.h"

namespace dstack::config {

namespace {

constexpr std::string_view kRule = "must be a number of processors such as `4`, `2..` or `arm:4..`";

absl::Status AddToken(const std::string& token, v1::CpuSpec* cpu) {
  if (token.find("..") != std::string::npos || IsAllDigits(token)) {
    if (cpu->has_count()) return BrokenRule("must name one number of processors");
    const absl::StatusOr<v1::IntRange> count = ParseIntRange(token);
    if (!count.ok()) return count.status();
    *cpu->mutable_count() = *count;
    return absl::OkStatus();
  }
  const std::string arch = AsciiLower(token);
  if (arch != "x86" && arch != "arm") return BrokenRule(kRule);
  if (cpu->arch() != v1::CPU_ARCH_UNSPECIFIED) return BrokenRule("must name one architecture");
  cpu->set_arch(arch == "x86" ? v1::CPU_ARCH_X86 : v1::CPU_ARCH_ARM);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::CpuSpec> ParseCpu(std::string_view text) {
  v1::CpuSpec cpu;
  for (const std::string& token : SplitOn(WithoutSpaces(text), ':')) {
    if (token.empty()) return BrokenRule(kRule);
    if (absl::Status status = AddToken(token, &cpu); !status.ok()) return status;
  }
  if (!cpu.has_count()) *cpu.mutable_count() = DefaultCpuCount();
  return cpu;
}

std::string FormatCpu(const v1::CpuSpec& cpu) {
  std::string count = FormatIntRange(cpu.count());
  if (cpu.arch() == v1::CPU_ARCH_UNSPECIFIED) return count;
  return fmt::format("{}:{}", cpu.arch() == v1::CPU_ARCH_ARM ? "arm" : "x86", count);
}

v1::IntRange DefaultCpuCount() {
  v1::IntRange range;
  range.set_min(2);
  return range;
}

}  // namespace dstack::config
