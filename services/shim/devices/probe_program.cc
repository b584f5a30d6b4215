#include "services/shim/devices/probe_program.h"

#include "libs/base/file.h"
#include "libs/base/macros.h"

// The build names the file.
asm(R"(
    .pushsection .rodata
    .global dstack_gpu_probe_begin
    .global dstack_gpu_probe_end
dstack_gpu_probe_begin:
    .incbin ")" DSTACK_GPU_PROBE_FILE R"("
dstack_gpu_probe_end:
    .byte 0
    .popsection
)");

extern "C" {
extern const char dstack_gpu_probe_begin[];  // NOLINT(readability-identifier-naming)
extern const char dstack_gpu_probe_end[];    // NOLINT(readability-identifier-naming)
}

namespace dstack::shim {

std::string_view EmbeddedProbe() {
  return {dstack_gpu_probe_begin,
          static_cast<std::size_t>(dstack_gpu_probe_end - dstack_gpu_probe_begin)};
}

absl::StatusOr<std::string> InstallProbe(const std::string& path) {
  const auto present = base::ReadFile(path);
  if (present.ok() && *present == EmbeddedProbe()) return path;
  RETURN_IF_ERROR(base::WriteFileAtomic(path, std::string(EmbeddedProbe()), 0700));
  return path;
}

}  // namespace dstack::shim
