// What the kernel and the vendors' tools print, read by the runner.
#include "libs/process/proc_stat.h"
#include "services/runner/usage/cgroup.h"
#include "services/runner/usage/gpu_csv.h"
#include "services/runner/usage/network.h"
#include "services/runner/usage/ssh_connections.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const dstack::fuzz::Measured measured;
  const std::string_view text = dstack::fuzz::Text(data, size);
  using namespace dstack::runner;
  for (const auto& parse : {ParseNvidiaSmi, ParseAmdSmi, ParseHlSmi}) {
    const auto samples = parse(text);
    if (!samples.ok()) FUZZ_CHECK(!samples.status().message().empty());
  }
  const std::size_t middle = text.size() / 2;
  FindCgroup(text.substr(0, middle), text.substr(middle));
  ParseIoStat(text, /*is_v2=*/true);
  ParseIoStat(text, /*is_v2=*/false);
  ParseNetDev(text, [](std::string_view) { return false; });
  ParseNetTcp(text, 10022);
  dstack::process::ParseStat(text);
  return 0;
}
