#include "services/server/store/segment_codec.h"

#include <memory>

#include <zstd.h>

#include "libs/base/status.h"

namespace dstack::server {
namespace {

// Level 1 compresses logs about as well as the higher ones at several times their speed.
constexpr int kLevel = 1;
// A frame holds one batch: at most 1 MiB of data and its framing. Anything longer is damage.
constexpr unsigned long long kMaxFrameBytes = 64 << 20;

struct CompressionCleaner {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

absl::Status Damaged() { return base::Internal("log segment is damaged"); }

}  // namespace

std::string EncodeFrame(const common::v1::LogBatch& batch) {
  // Kept per thread: making one costs more than compressing a line.
  thread_local const std::unique_ptr<ZSTD_CCtx, CompressionCleaner> context(ZSTD_createCCtx());
  const std::string plain = batch.SerializeAsString();
  std::string frame(ZSTD_compressBound(plain.size()), '\0');
  const std::size_t size = ZSTD_compressCCtx(
      context.get(), frame.data(), frame.size(), plain.data(), plain.size(), kLevel);
  // Cannot fail with a buffer of the bound's size.
  frame.resize(ZSTD_isError(size) != 0 ? 0 : size);
  return frame;
}

absl::Status DecodeFrames(std::string_view frames, common::v1::LogBatch* batch) {
  while (!frames.empty()) {
    const std::size_t frame_size = ZSTD_findFrameCompressedSize(frames.data(), frames.size());
    if (ZSTD_isError(frame_size) != 0) return Damaged();
    const auto plain_size = ZSTD_getFrameContentSize(frames.data(), frame_size);
    // Also true for the two error values, which are the highest numbers.
    if (plain_size > kMaxFrameBytes) return Damaged();
    std::string plain(plain_size, '\0');
    const std::size_t size = ZSTD_decompress(plain.data(), plain.size(), frames.data(), frame_size);
    if (ZSTD_isError(size) != 0 || size != plain_size) return Damaged();
    if (!batch->MergeFromString(plain)) return Damaged();
    frames.remove_prefix(frame_size);
  }
  return absl::OkStatus();
}

}  // namespace dstack::server
