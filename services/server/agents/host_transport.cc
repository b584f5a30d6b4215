#include "services/server/agents/host_transport.h"

#include "libs/base/status.h"

namespace dstack::server {
namespace {

class DirectTransport final : public HostTransport {
 public:
  absl::Status Connect(std::stop_token) override { return absl::OkStatus(); }
  absl::StatusOr<std::string> Forward(const std::string& remote_socket) override {
    return remote_socket;
  }
  void RemoveForward(const std::string&) override {}
  absl::StatusOr<ExecResult> Exec(const std::vector<std::string>&,
                                  std::chrono::milliseconds,
                                  std::optional<std::string>,
                                  std::stop_token) override {
    return absl::UnimplementedError("a direct transport runs no programs");
  }
  std::string HostKey() const override { return ""; }
};

}  // namespace

std::unique_ptr<HostTransport> DirectTransports::Make(const Instance&,
                                                      const HostConnection&,
                                                      OnBroken) {
  return std::make_unique<DirectTransport>();
}

}  // namespace dstack::server
