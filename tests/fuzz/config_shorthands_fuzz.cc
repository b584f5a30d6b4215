// Every shorthand on its own. What is printed reads back as the same.
#include <google/protobuf/util/message_differencer.h>

#include "libs/config/interpolate.h"
#include "libs/config/names.h"
#include "libs/config/node.h"
#include "libs/config/shorthand/cpu.h"
#include "libs/config/shorthand/cron.h"
#include "libs/config/shorthand/duration.h"
#include "libs/config/shorthand/env.h"
#include "libs/config/shorthand/gpu.h"
#include "libs/config/shorthand/memory.h"
#include "libs/config/shorthand/path.h"
#include "libs/config/shorthand/port.h"
#include "libs/config/shorthand/range.h"
#include "tests/fuzz/fuzz.h"

using google::protobuf::util::MessageDifferencer;

namespace dstack::config {
namespace {

template <typename Type>
void CheckPrinted(std::string_view text,
                  absl::StatusOr<Type> (*parse)(std::string_view),
                  std::string (*format)(const Type&)) {
  const absl::StatusOr<Type> value = parse(text);
  if (!value.ok()) {
    FUZZ_CHECK(!value.status().message().empty());
    return;
  }
  const absl::StatusOr<Type> again = parse(format(*value));
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(MessageDifferencer::Equals(*value, *again));
}

void CheckNumbers(std::string_view text) {
  CheckPrinted<v1::IntRange>(text, ParseIntRange, FormatIntRange);
  CheckPrinted<v1::CpuSpec>(text, ParseCpu, FormatCpu);
  CheckPrinted<v1::PortMapping>(text, ParsePort, FormatPort);
  const absl::StatusOr<int64_t> seconds = ParseSeconds(text);
  if (seconds.ok() && *seconds >= 0)
    FUZZ_CHECK(*ParseSeconds(FormatDuration(*seconds)) == *seconds);
  static_cast<void>(ParseMemory(text));
  // Sizes are printed rounded.
  const absl::StatusOr<v1::MemoryRange> memory = ParseMemoryRange(text);
  if (memory.ok()) FUZZ_CHECK(!FormatMemoryRange(*memory).empty());
  const absl::StatusOr<v1::GpuSpec> gpu = ParseGpu(text);
  if (gpu.ok()) FUZZ_CHECK(!FormatGpu(*gpu).empty());
  static_cast<void>(ParseServicePort(text));
  static_cast<void>(ParseDuration(text));
  static_cast<void>(ParseOffableDuration(text));
  static_cast<void>(ParseComputeCapability(text));
}

void CheckPaths(std::string_view text) {
  const absl::StatusOr<std::string> path = NormaliseAbsolutePath(text);
  if (path.ok()) FUZZ_CHECK(NormaliseAbsolutePath(*path).value_or("") == *path);
  static_cast<void>(ParseMount(text));
  static_cast<void>(ParseFileMapping(text));
  static_cast<void>(ParseRepo(text));
  const absl::StatusOr<v1::EntityReference> reference = ParseEntityReference(text);
  if (reference.ok()) FUZZ_CHECK(ParseEntityReference(FormatEntityReference(*reference)).ok());
}

void CheckTexts(std::string_view text) {
  static_cast<void>(ParseEnvVar(text));
  static_cast<void>(ResolvePlain(std::string(text)));
  static_cast<void>(ParseGroupAddress(text));
  static_cast<void>(Interpolate(text, {.values = {{"run", {{"args", "x"}}}}}));
  const absl::StatusOr<CronExpression> cron = CronExpression::Parse(text);
  if (cron.ok()) static_cast<void>(cron->Next(std::chrono::system_clock::time_point{}));
  for (auto* check : {CheckResourceName,
                      CheckGroupName,
                      CheckProjectName,
                      CheckSecretName,
                      CheckTagValue,
                      CheckContainerUser,
                      CheckShell}) {
    static_cast<void>(check(text));
  }
}

}  // namespace
}  // namespace dstack::config

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const dstack::fuzz::Measured measured;
  const std::string_view text = dstack::fuzz::Text(data, size);
  dstack::config::CheckNumbers(text);
  dstack::config::CheckPaths(text);
  dstack::config::CheckTexts(text);
  return 0;
}
