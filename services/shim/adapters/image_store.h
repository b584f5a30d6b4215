#pragma once

#include <map>
#include <set>
#include <string>

#include <absl/status/status.h>

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/docker/client.h"
#include "libs/docker/images.h"
#include "services/shim/adapters/shared_pulls.h"
#include "services/shim/domain/image_policy.h"

namespace dstack::shim {

struct ImageStoreSettings {
  // Remembers what the shim has pulled, over restarts. Empty: nothing is remembered or removed.
  std::string state_file;
  // On the disk that fills up with images; empty: disk pressure is not judged.
  std::string data_dir;
  PullPolicy pull;
  ImagePolicy policy;
};

// The images of a host: brings them there, and removes those that nobody needs any more. A task
// holds its image from Hold() to LetGo(). Thread-safe; calls block.
class ImageStore {
 public:
  // References outlive it.
  ImageStore(const docker::Client& client,
             ImageStoreSettings settings,
             const base::Clock& clock,
             base::Random& random);

  // Keeps the image from being removed for the sake of this task; waits for a removal that is in
  // progress.
  void Hold(const std::string& task_id, const std::string& reference);
  void LetGo(const std::string& task_id);

  // As docker::PullImage, shared with others. When the disk is full it removes what it may and
  // tries once more.
  absl::Status Pull(const std::string& reference,
                    const std::optional<docker::RegistryCredentials>& credentials,
                    const PullObserver& observer,
                    const std::stop_token& stop);

  // Notes that a task uses the image now.
  void Touch(const std::string& reference, const docker::ImageConfig& image);

  // Removes images by the policy. Returns how many went.
  int CleanUp() { return CleanUpWith(settings_.policy); }

 private:
  void Load();
  void Save() REQUIRES(mutex_);
  void Record(const std::string& reference, const docker::ImageConfig& image, bool was_present);
  int CleanUpWith(const ImagePolicy& policy);
  bool RemoveOne(const PulledImage& image);
  DiskSpace Disk() const;
  // Says which disk it is, for people who have to make room.
  absl::Status WithDisk(const absl::Status& status) const;

  const docker::Client& client_;
  const ImageStoreSettings settings_;
  const base::Clock& clock_;
  SharedPulls pulls_;

  // One clean-up at a time.
  base::Mutex cleaning_;
  base::Mutex mutex_;
  base::CondVar removed_;
  std::map<std::string, PulledImage> images_ GUARDED_BY(mutex_);  // by reference
  std::map<std::string, std::string> held_ GUARDED_BY(mutex_);    // task id to reference
  std::string removing_ GUARDED_BY(mutex_);                       // reference, or empty
};

}  // namespace dstack::shim
