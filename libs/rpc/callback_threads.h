#pragma once

namespace dstack::rpc {

// Keeps gRPC's threads for callbacks alive until the process ends. gRPC 1.51 ends them with the last
// channel or server that uses callbacks, and joins them: on one of themselves when that last one
// goes at the end of a callback, which aborts the process. Cheap after the first call. Thread-safe.
void KeepCallbackThreads();

}  // namespace dstack::rpc
