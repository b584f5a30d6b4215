#include "services/shim/api/session.h"

#include <algorithm>
#include <utility>

#include "libs/base/status.h"
#include "libs/rpc/status_mapping.h"

namespace dstack::shim {
namespace {

// Refused commands that wait to be told. Far above what an honest server has in flight; beyond it
// the session ends, and the server starts again from the status of the tasks.
constexpr std::size_t kMaxMessages = 1024;

}  // namespace

Session* Session::Open(grpc::CallbackServerContext* context,
                       SessionHandler& handler,
                       const base::Clock& clock) {
  auto* session = new Session(context, handler, clock);
  session->StartRead(&session->request_);
  return session;
}

Session::Session(grpc::CallbackServerContext* context,
                 SessionHandler& handler,
                 const base::Clock& clock)
    : context_(context), handler_(handler), clock_(clock) {
  base::MutexLock lock(mutex_);
  last_write_ = clock_.MonotonicNow();
  // Ours until OnDone; references of others may outlive it.
  self_ = std::shared_ptr<Session>(this);
}

std::shared_ptr<Session> Session::self() {
  base::MutexLock lock(mutex_);
  return self_;
}

void Session::OnReadDone(bool ok) {
  if (!ok) return ReportEnd();
  if (const auto session = self()) handler_.OnRequest(session, std::move(request_));
}

void Session::ReadNext() {
  base::MutexLock lock(mutex_);
  if (is_finished_) return;
  request_.Clear();
  StartRead(&request_);
}

void Session::OnCancel() { ReportEnd(); }

void Session::ReportEnd() {
  std::shared_ptr<Session> session;
  {
    base::MutexLock lock(mutex_);
    if (is_end_reported_) return;
    is_end_reported_ = true;
    session = self_;
  }
  if (session) handler_.OnEnded(session);
  End(absl::OkStatus());
  Cancel();
}

void Session::OnDone() {
  ReportEnd();
  std::shared_ptr<Session> last;
  base::MutexLock lock(mutex_);
  last.swap(self_);
  // `last` goes after the lock.
}

void Session::Send(v1::SessionResponse message) {
  base::MutexLock lock(mutex_);
  // A newer value of facts or metrics takes the place of one that still waits.
  const bool is_latest_only = message.has_host_facts() || message.has_host_metrics();
  const auto same = std::find_if(slots_.begin(), slots_.end(), [&](const Slot& slot) {
    return slot.message && slot.message->message_case() == message.message_case();
  });
  if (is_latest_only && same != slots_.end()) {
    same->message = std::move(message);
    return;
  }
  Enqueue(std::move(message));
  MaybeWrite();
}

void Session::SendFailure(const std::string& task_id, const absl::Status& status) {
  v1::SessionResponse message;
  auto* failure = message.mutable_command_failed();
  failure->set_task_id(task_id);
  const std::string reason = base::Reason(status);
  failure->set_reason(reason.empty() ? "INTERNAL" : reason);
  failure->set_message(std::string(base::Message(status)));
  Send(std::move(message));
}

bool Session::HasRoom() {
  constexpr std::size_t kFew = 4;
  base::MutexLock lock(mutex_);
  return slots_.size() < kFew;
}

void Session::BeatIfSilent(base::Duration silence) {
  base::MutexLock lock(mutex_);
  if (is_writing_ || !slots_.empty()) return;
  if (clock_.MonotonicNow() - last_write_ < silence) return;
  v1::SessionResponse message;
  message.mutable_heartbeat();
  Enqueue(std::move(message));
  MaybeWrite();
}

void Session::OnStatus(const v1::TaskStatus& status) {
  base::MutexLock lock(mutex_);
  const auto [it, is_new] = statuses_.try_emplace(status.task_id(), status);
  if (is_new) slots_.push_back({.task_id = status.task_id()});
  // The answer of a command and the board come from different threads.
  if (status.revision() > it->second.revision()) it->second = status;
  MaybeWrite();
}

void Session::OnRemoved(const std::string& task_id) {
  base::MutexLock lock(mutex_);
  // Its slot, if any, is passed over when its turn comes.
  statuses_.erase(task_id);
  v1::SessionResponse message;
  message.mutable_task_removed()->set_task_id(task_id);
  Enqueue(std::move(message));
  MaybeWrite();
}

void Session::OnSynced() {
  base::MutexLock lock(mutex_);
  v1::SessionResponse message;
  message.mutable_sync_done();
  Enqueue(std::move(message));
  MaybeWrite();
}

void Session::Enqueue(v1::SessionResponse message) {
  if (slots_.size() >= kMaxMessages + statuses_.size() && !end_) {
    end_ = rpc::ToGrpc(base::Error(absl::StatusCode::kResourceExhausted,
                                   "SLOW_READER",
                                   "the session is not read; open it again"));
    MaybeFinish();
    return;
  }
  slots_.push_back({.message = std::move(message)});
}

bool Session::TakeNext() {
  while (!slots_.empty()) {
    Slot slot = std::move(slots_.front());
    slots_.pop_front();
    writing_.Clear();
    if (slot.message) {
      writing_ = *std::move(slot.message);
      return true;
    }
    const auto node = statuses_.extract(slot.task_id);
    if (node.empty()) continue;
    *writing_.mutable_task_status() = node.mapped();
    return true;
  }
  return false;
}

void Session::MaybeWrite() {
  if (is_writing_ || is_finished_ || end_ || !TakeNext()) return;
  writing_.set_sequence(++sequence_);
  is_writing_ = true;
  StartWrite(&writing_);
}

void Session::OnWriteDone(bool ok) {
  {
    base::MutexLock lock(mutex_);
    is_writing_ = false;
    last_write_ = clock_.MonotonicNow();
    if (ok) MaybeWrite();
    MaybeFinish();
  }
  if (!ok) ReportEnd();
}

void Session::End(const absl::Status& status) {
  base::MutexLock lock(mutex_);
  if (!end_) end_ = rpc::ToGrpc(status);
  MaybeFinish();
}

void Session::Cancel() {
  base::MutexLock lock(mutex_);
  if (!is_finished_) context_->TryCancel();
}

void Session::MaybeFinish() {
  if (!end_ || is_writing_ || is_finished_) return;
  is_finished_ = true;
  Finish(*end_);
}

}  // namespace dstack::shim
