#include "libs/rpc/stream_writer.h"

#include <atomic>
#include <string>

#include <catch2/catch.hpp>
#include <grpcpp/grpcpp.h>

#include "dstack/api/v1/log_service.grpc.pb.h"

#include "libs/testing/await.h"

namespace dstack::rpc {
namespace {

using namespace std::chrono_literals;
using Response = api::v1::StreamLogsResponse;
using Writer = StreamWriter<Response>;

Response Numbered(std::uint64_t number, std::size_t bytes = 0) {
  Response response;
  auto* record = response.mutable_batch()->add_records();
  record->set_sequence(number);
  record->set_data(std::string(bytes, 'x'));
  return response;
}

class Service final
    : public api::v1::LogService::WithCallbackMethod_StreamLogs<api::v1::LogService::Service> {
 public:
  grpc::ServerWriteReactor<Response>* StreamLogs(grpc::CallbackServerContext*,
                                                 const api::v1::StreamLogsRequest*) override {
    auto writer = Writer::Create(capacity);
    prepare(writer);
    return writer.get();
  }

  std::size_t capacity = 4;
  std::function<void(const std::shared_ptr<Writer>&)> prepare;
};

class Fixture {
 public:
  Fixture() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&service);
    server = builder.BuildAndStart();
    stub = api::v1::LogService::NewStub(server->InProcessChannel({}));
  }
  ~Fixture() { server->Shutdown(std::chrono::system_clock::now() + 2s); }

  Service service;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<api::v1::LogService::Stub> stub;
};

TEST_CASE("queued messages arrive before the status") {
  Fixture fixture;
  fixture.service.prepare = [](const std::shared_ptr<Writer>& writer) {
    for (std::uint64_t i = 1; i <= 4; ++i) writer->Offer(Numbered(i));
    writer->Finish({grpc::StatusCode::ABORTED, "over"});
    writer->Finish(grpc::Status::OK);
  };
  grpc::ClientContext context;
  auto reader = fixture.stub->StreamLogs(&context, {});
  Response response;
  std::uint64_t count = 0;
  while (reader->Read(&response)) CHECK(response.batch().records(0).sequence() == ++count);
  CHECK(count == 4);
  CHECK(reader->Finish().error_code() == grpc::StatusCode::ABORTED);
}

TEST_CASE("a full queue refuses and a pulling producer goes on when there is room") {
  Fixture fixture;
  fixture.service.capacity = 2;
  std::atomic<bool> was_refused{false};
  fixture.service.prepare = [&](const std::shared_ptr<Writer>& writer) {
    auto next = std::make_shared<std::atomic<std::uint64_t>>(1);
    auto pull = [weak = std::weak_ptr<Writer>(writer), next] {
      auto alive = weak.lock();
      if (!alive) return;
      if (*next > 1000) {
        alive->Finish(grpc::Status::OK);
      } else if (alive->Offer(Numbered(*next))) {
        ++*next;
      }
    };
    writer->OnWritable(pull);
    pull();
    was_refused = writer->Offer(Numbered(0)) && !writer->Offer(Numbered(0));
  };
  grpc::ClientContext context;
  auto reader = fixture.stub->StreamLogs(&context, {});
  Response response;
  std::uint64_t last = 0;
  while (reader->Read(&response)) last = std::max(last, response.batch().records(0).sequence());
  CHECK(reader->Finish().ok());
  CHECK(last == 1000);
  CHECK(was_refused);
}

TEST_CASE("a client that leaves, or never reads, frees the stream") {
  Fixture fixture;
  fixture.service.capacity = 2;
  std::atomic<int> closed{0};
  std::weak_ptr<Writer> seen;
  fixture.service.prepare = [&](const std::shared_ptr<Writer>& writer) {
    seen = writer;
    writer->OnClosed([&, writer] { ++closed; });
    while (writer->Offer(Numbered(1, 1 << 20))) {
    }
  };
  grpc::ClientContext context;
  auto reader = fixture.stub->StreamLogs(&context, {});
  testing::Await(5s, [&] { return !seen.expired(); });
  context.TryCancel();
  testing::AwaitEqual(
      5s, [&] { return closed.load(); }, 1);
  CHECK(reader->Finish().error_code() == grpc::StatusCode::CANCELLED);
  testing::Await(5s, [&] { return seen.expired(); });
}

}  // namespace
}  // namespace dstack::rpc
