// Loaded into the bundle's sshd (ld.so --preload) where the system's account files cannot be
// changed: in a container with a read-only root, or on a host that has no user sshd. Users are
// looked up in a file of ours, and the unprivileged half of sshd locks itself up in a directory of
// ours. Only sshd itself sees it: what a session executes is a new program without it. The bundle's
// ssh has it when git calls it: the job's user may be a mere number.
//
// C only: the bundle has no C++ library.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <dlfcn.h>
#include <pwd.h>
#include <shadow.h>
#include <sys/stat.h>
#include <unistd.h>

#define DSTACK_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

// Compiled into Debian's sshd.
constexpr char kSystemChrootDir[] = "/run/sshd";
constexpr std::size_t kMaxPath = 4096;

// Copies: sshd replaces its environment.
char passwd_path[kMaxPath];
char chroot_dir[kMaxPath];

__attribute__((constructor)) void ReadSettings() {
  const char* path = std::getenv("DSTACK_SSHD_PASSWD");
  const char* dir = std::getenv("DSTACK_SSHD_CHROOT_DIR");
  if (path != nullptr) std::snprintf(passwd_path, sizeof(passwd_path), "%s", path);
  if (dir != nullptr) std::snprintf(chroot_dir, sizeof(chroot_dir), "%s", dir);
}

// The entry is good until the next look-up, as with the functions of the C library.
passwd* Find(const char* name, uid_t uid) {
  FILE* file = std::fopen(passwd_path, "re");
  if (file == nullptr) return nullptr;
  passwd* entry = fgetpwent(file);
  while (entry != nullptr &&
         (name != nullptr ? std::strcmp(entry->pw_name, name) != 0 : entry->pw_uid != uid)) {
    entry = fgetpwent(file);
  }
  std::fclose(file);
  return entry;
}

const char* Redirect(const char* path) {
  return std::strcmp(path, kSystemChrootDir) == 0 ? chroot_dir : path;
}

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

DSTACK_EXPORT passwd* getpwnam(const char* name) { return Find(name, 0); }

DSTACK_EXPORT passwd* getpwuid(uid_t uid) { return Find(nullptr, uid); }

// Nobody has a password, and nobody is locked.
DSTACK_EXPORT spwd* getspnam(const char*) { return nullptr; }

DSTACK_EXPORT int chroot(const char* path) noexcept {
  return Next<int(const char*)>("chroot")(Redirect(path));
}

DSTACK_EXPORT int stat(const char* path, struct stat* info) noexcept {
  return Next<int(const char*, struct stat*)>("stat")(Redirect(path), info);
}
