#include "libs/rpc/callback_threads.h"

#include <memory>

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

namespace dstack::rpc {
namespace {

// A channel takes its reference to the threads with its first callback call, whatever becomes of
// it.
struct Keeper {
  std::shared_ptr<grpc::Channel> channel =
      grpc::CreateChannel("unix:/dev/null/no-such-socket", grpc::InsecureChannelCredentials());
  grpc::GenericStub stub{channel};
  grpc::ClientContext context;
  grpc::Slice nothing;
  grpc::ByteBuffer request{&nothing, 1};
  grpc::ByteBuffer response;

  Keeper() {
    stub.UnaryCall(
        &context, "/none/None", grpc::StubOptions(), &request, &response, [](const grpc::Status&) {
        });
  }
};

}  // namespace

void KeepCallbackThreads() {
  // Never destroyed.
  static const Keeper* const keeper = new Keeper;
  static_cast<void>(keeper);
}

}  // namespace dstack::rpc
