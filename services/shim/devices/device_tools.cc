#include "services/shim/devices/device_tools.h"

#include <utility>

#include "libs/base/file.h"
#include "libs/process/subprocess.h"

namespace dstack::shim {
namespace {

// Packages of the makers do not all put their tools on the PATH of a service.
constexpr const char* kToolDirs[] = {"/opt/rocm/bin/", "/usr/lib/wsl/lib/", "/usr/local/bin/"};
constexpr std::size_t kOutputLimit = std::size_t{4} << 20;

class HostDeviceTools final : public DeviceTools {
 public:
  explicit HostDeviceTools(base::Duration timeout) : timeout_(timeout) {}

  absl::StatusOr<std::string> Run(const std::vector<std::string>& argv,
                                  const std::stop_token& stop) const override {
    const process::Options options{.output_limit_bytes = kOutputLimit};
    auto output = process::RunChecked(argv, timeout_, options, stop);
    if (!absl::IsNotFound(output.status()) || argv.front().find('/') != std::string::npos) {
      return output;
    }
    for (const char* dir : kToolDirs) {
      std::vector<std::string> elsewhere = argv;
      elsewhere.front() = dir + argv.front();
      if (base::Exists(elsewhere.front())) {
        return process::RunChecked(elsewhere, timeout_, options, stop);
      }
    }
    return output;
  }

 private:
  const base::Duration timeout_;
};

}  // namespace

std::unique_ptr<DeviceTools> HostTools(base::Duration timeout) {
  return std::make_unique<HostDeviceTools>(timeout);
}

}  // namespace dstack::shim
