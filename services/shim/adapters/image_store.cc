#include "services/shim/adapters/image_store.h"

#include <optional>
#include <utility>

#include <nlohmann/json.hpp>
#include <sys/statvfs.h>

#include "libs/base/file.h"
#include "libs/base/status.h"
#include "libs/docker/pull_error.h"
#include "libs/telemetry/log.h"

namespace dstack::shim {
namespace {

using nlohmann::json;

std::int64_t ToSeconds(base::WallTime time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

base::WallTime FromSeconds(std::int64_t seconds) {
  return base::WallTime(std::chrono::seconds(seconds));
}

std::optional<PulledImage> ParseImage(const json& object) {
  if (!object.is_object()) return std::nullopt;
  try {
    PulledImage image{.reference = object.at("reference"),
                      .id = object.at("id"),
                      .size_bytes = object.at("size_bytes"),
                      .last_used = FromSeconds(object.at("last_used"))};
    if (image.reference.empty()) return std::nullopt;
    return image;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

}  // namespace

ImageStore::ImageStore(const docker::Client& client,
                       ImageStoreSettings settings,
                       const base::Clock& clock,
                       base::Random& random)
    : client_(client),
      settings_(std::move(settings)),
      clock_(clock),
      pulls_(
          [this](const docker::PullOptions& options, const std::stop_token& stop) {
            return docker::PullImage(client_, options, stop);
          },
          settings_.pull,
          random) {
  Load();
}

void ImageStore::Load() {
  if (settings_.state_file.empty()) return;
  const auto text = base::ReadFile(settings_.state_file);
  if (!text.ok()) return;
  const json list = json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!list.is_array()) {
    // Forgetting them is safe: they are never removed then.
    telemetry::Error("the list of pulled images cannot be read; they will stay",
                     {{"path", settings_.state_file}});
    return;
  }
  base::MutexLock lock(mutex_);
  for (const json& object : list) {
    auto image = ParseImage(object);
    if (!image) continue;
    const std::string reference = image->reference;
    images_[reference] = *std::move(image);
  }
}

void ImageStore::Save() {
  if (settings_.state_file.empty()) return;
  json list = json::array();
  for (const auto& [reference, image] : images_) {
    list.push_back({{"reference", reference},
                    {"id", image.id},
                    {"size_bytes", image.size_bytes},
                    {"last_used", ToSeconds(image.last_used)}});
  }
  const absl::Status saved = base::WriteFileAtomic(
      settings_.state_file, list.dump(-1, ' ', false, json::error_handler_t::replace), 0600);
  // An image that is not on the list is not removed; the disk is full now anyway.
  if (!saved.ok()) telemetry::Warn("the list of pulled images is not on disk", {{"status", saved}});
}

void ImageStore::Hold(const std::string& task_id, const std::string& reference) {
  base::MutexLock lock(mutex_);
  while (removing_ == reference) removed_.Wait(mutex_);
  held_[task_id] = reference;
}

void ImageStore::LetGo(const std::string& task_id) {
  base::MutexLock lock(mutex_);
  held_.erase(task_id);
}

absl::Status ImageStore::Pull(const std::string& reference,
                              const std::optional<docker::RegistryCredentials>& credentials,
                              const PullObserver& observer,
                              const std::stop_token& stop) {
  const bool was_present = docker::InspectImage(client_, reference, stop).ok();
  absl::Status status = pulls_.Pull(reference, credentials, observer, stop);
  if (base::Reason(status) == docker::kPullDiskFull) {
    // What is not in use is worth less than this image.
    ImagePolicy policy = settings_.policy;
    policy.min_free_percent = 100;
    if (CleanUpWith(policy) > 0) status = pulls_.Pull(reference, credentials, observer, stop);
  }
  if (base::Reason(status) == docker::kPullDiskFull) return WithDisk(status);
  if (!status.ok()) return status;
  const auto image = docker::InspectImage(client_, reference, stop);
  if (image.ok()) Record(reference, *image, was_present);
  return absl::OkStatus();
}

void ImageStore::Record(const std::string& reference,
                        const docker::ImageConfig& image,
                        bool was_present) {
  base::MutexLock lock(mutex_);
  const auto it = images_.find(reference);
  // Somebody else has brought it: it is his.
  if (it == images_.end() && was_present) return;
  if (it != images_.end() && it->second.id != image.id && !it->second.id.empty()) {
    // The tag has moved on; what it stood for has no name any more.
    PulledImage old = it->second;
    old.reference = old.id;
    images_[old.reference] = std::move(old);
  }
  images_[reference] = {.reference = reference,
                        .id = image.id,
                        .size_bytes = image.size_bytes,
                        .last_used = clock_.Now()};
  Save();
}

void ImageStore::Touch(const std::string& reference, const docker::ImageConfig& image) {
  // Precise to the hour: a start must not wait for the disk because of this.
  constexpr std::chrono::hours kPrecision{1};
  base::MutexLock lock(mutex_);
  const auto it = images_.find(reference);
  if (it == images_.end()) return;
  const base::WallTime now = clock_.Now();
  const bool is_recent = it->second.id == image.id && now - it->second.last_used < kPrecision;
  it->second.last_used = now;
  it->second.id = image.id;
  if (!is_recent) Save();
}

absl::Status ImageStore::WithDisk(const absl::Status& status) const {
  const DiskSpace disk = Disk();
  if (disk.total_bytes == 0) return status;
  return base::Annotate(status,
                        "{} has {} of {} MiB free",
                        settings_.data_dir,
                        disk.free_bytes >> 20U,
                        disk.total_bytes >> 20U);
}

DiskSpace ImageStore::Disk() const {
  struct statvfs info {};
  if (settings_.data_dir.empty() || ::statvfs(settings_.data_dir.c_str(), &info) != 0) return {};
  return {.total_bytes = std::uint64_t{info.f_blocks} * info.f_frsize,
          .free_bytes = std::uint64_t{info.f_bavail} * info.f_frsize};
}

int ImageStore::CleanUpWith(const ImagePolicy& policy) {
  base::MutexLock one_at_a_time(cleaning_);
  std::vector<PulledImage> images;
  {
    base::MutexLock lock(mutex_);
    for (const auto& [reference, image] : images_) images.push_back(image);
  }
  if (images.empty()) return 0;
  auto in_use = docker::ImagesOfContainers(client_, {});
  if (!in_use.ok()) return 0;
  {
    base::MutexLock lock(mutex_);
    for (const auto& [task_id, reference] : held_) in_use->insert(reference);
  }
  int count = 0;
  for (const PulledImage& image :
       ImagesToRemove(policy, std::move(images), *in_use, Disk(), clock_.Now())) {
    if (RemoveOne(image)) ++count;
  }
  return count;
}

bool ImageStore::RemoveOne(const PulledImage& image) {
  {
    base::MutexLock lock(mutex_);
    // A task may have come since the choice.
    for (const auto& [task_id, reference] : held_) {
      if (reference == image.reference) return false;
    }
    removing_ = image.reference;
  }
  // Without force: the engine itself refuses what a container needs.
  const absl::Status status = docker::RemoveUnusedImage(client_, image.reference, {});
  base::MutexLock lock(mutex_);
  removing_.clear();
  removed_.NotifyAll();
  if (!status.ok()) {
    telemetry::Info("an image stays", {{"image", image.reference}, {"status", status}});
    return false;
  }
  images_.erase(image.reference);
  Save();
  telemetry::Info("an unused image was removed",
                  {{"image", image.reference}, {"size_bytes", image.size_bytes}});
  return true;
}

}  // namespace dstack::shim
