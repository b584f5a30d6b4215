#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <absl/status/status.h>
#include <grpcpp/grpcpp.h>

#include "dstack/shim/v1/shim_service.grpc.pb.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "services/shim/pipeline/status_board.h"

namespace dstack::shim {

class Session;

// What is done with a session's messages. The calls come from gRPC's threads and must not block.
class SessionHandler {
 public:
  virtual ~SessionHandler() = default;
  // A message has arrived; no further one is read until Session::ReadNext().
  virtual void OnRequest(const std::shared_ptr<Session>& session, v1::SessionRequest request) = 0;
  // The peer is gone or has ended its side. Called once.
  virtual void OnEnded(const std::shared_ptr<Session>& session) = 0;
};

// One open Session stream: a bounded outbox in front of the wire. What waits to be sent is kept by
// kind: of each task, of the facts and of the metrics only the newest value, so that a slow server
// gets less, never something old, and memory stays bounded. Public functions are thread-safe and do
// not block. The object lives until the stream is done and nobody refers to it.
class Session final : public grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>,
                      public StatusListener {
 public:
  // Begins to read. `handler` outlives the stream.
  static Session* Open(grpc::CallbackServerContext* context,
                       SessionHandler& handler,
                       const base::Clock& clock);

  // One message as it is. For hello, facts and metrics; not for tasks.
  void Send(v1::SessionResponse message);
  void SendFailure(const std::string& task_id, const absl::Status& status);
  // Little waits to be sent: more of what can wait may come.
  bool HasRoom();
  // A heartbeat, if nothing was sent since `silence`.
  void BeatIfSilent(base::Duration silence);

  // StatusListener
  void OnStatus(const v1::TaskStatus& status) override;
  void OnRemoved(const std::string& task_id) override;
  void OnSynced() override;

  // Lets the next message come.
  void ReadNext();
  // Ends the stream with this status as soon as the message that is on its way has left; the first
  // call counts. A peer that does not read holds it up until Cancel().
  void End(const absl::Status& status);
  // Ends the stream at once; the peer is told no reason unless it has ended already.
  void Cancel();

 private:
  // Either a message, or the name of the newest value to be taken when its turn comes.
  struct Slot {
    std::optional<v1::SessionResponse> message;
    std::string task_id;
  };

  Session(grpc::CallbackServerContext* context, SessionHandler& handler, const base::Clock& clock);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  std::shared_ptr<Session> self();
  void Enqueue(v1::SessionResponse message) REQUIRES(mutex_);
  bool TakeNext() REQUIRES(mutex_);
  void MaybeWrite() REQUIRES(mutex_);
  void MaybeFinish() REQUIRES(mutex_);
  void ReportEnd();

  grpc::CallbackServerContext* const context_;
  SessionHandler& handler_;
  const base::Clock& clock_;

  v1::SessionRequest request_;  // owned by the read in flight, else by OnReadDone

  base::Mutex mutex_;
  std::shared_ptr<Session> self_ GUARDED_BY(mutex_);
  std::deque<Slot> slots_ GUARDED_BY(mutex_);
  std::map<std::string, v1::TaskStatus> statuses_ GUARDED_BY(mutex_);
  v1::SessionResponse writing_ GUARDED_BY(mutex_);
  bool is_writing_ GUARDED_BY(mutex_) = false;
  bool is_finished_ GUARDED_BY(mutex_) = false;
  bool is_end_reported_ GUARDED_BY(mutex_) = false;
  std::optional<grpc::Status> end_ GUARDED_BY(mutex_);
  std::uint64_t sequence_ GUARDED_BY(mutex_) = 0;
  base::MonotonicTime last_write_ GUARDED_BY(mutex_){};
};

}  // namespace dstack::shim
