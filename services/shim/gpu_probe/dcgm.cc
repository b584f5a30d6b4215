#include "services/shim/gpu_probe/dcgm.h"

#include <cstring>
#include <memory>

#include <dlfcn.h>

#include "services/shim/gpu_probe/dcgm_abi.h"
#include "services/shim/gpu_probe/json_line.h"

namespace dstack::gpu_probe {
namespace {

using dcgm::Incident;
using dcgm::kEntityGpu;
using dcgm::kFail;
using dcgm::kOk;
using dcgm::kWarn;
using dcgm::ResponseV4;
using dcgm::ResponseV5;
using dcgm::VersionWord;

constexpr int kModeAuto = 1;
constexpr std::uintptr_t kAllGpus = 0x7fffffff;
constexpr unsigned kAllSystems = 0xffffffff;

using CheckFunction = int (*)(std::uintptr_t, std::uintptr_t, void*);

const char* SystemName(int system) {
  switch (system) {
    case 0x1:
      return "PCIe";
    case 0x2:
      return "NVLink";
    case 0x4:
      return "PMU";
    case 0x8:
      return "MCU";
    case 0x10:
      return "memory";
    case 0x20:
      return "SM";
    case 0x40:
      return "InfoROM";
    case 0x80:
      return "thermal";
    case 0x100:
      return "power";
    case 0x200:
      return "driver";
    case 0x400:
    case 0x800:
      return "NVSwitch";
    default:
      return "other";
  }
}

const char* HealthName(int health) { return health >= kFail ? "failure" : "warning"; }

template <typename Answer>
bool Ask(CheckFunction check,
         std::uintptr_t engine,
         unsigned version,
         const std::function<std::string(std::size_t)>& uuid_of,
         std::string* incidents) {
  // Up to a megabyte: not on the stack.
  const auto answer = std::make_unique<Answer>();
  std::memset(answer.get(), 0, sizeof(Answer));
  answer->version = VersionWord(sizeof(Answer), version);
  if (check(engine, kAllGpus, answer.get()) != kOk) return false;
  JsonList list;
  constexpr unsigned kMax = sizeof(answer->incidents) / sizeof(Incident);
  for (unsigned i = 0; i < answer->count && i < kMax; ++i) {
    Incident& incident = answer->incidents[i];
    if (incident.health < kWarn) continue;
    incident.message[sizeof(incident.message) - 1] = '\0';
    JsonLine line;
    // Those of a switch concern no single card.
    line.Text("uuid", incident.entity_group == kEntityGpu ? uuid_of(incident.entity) : "");
    line.Text("system", SystemName(incident.system)).Text("health", HealthName(incident.health));
    line.Number("code", incident.code).Text("message", incident.message);
    list.Add(line.Take());
  }
  *incidents = list.Take();
  return true;
}

}  // namespace

void* Dcgm::Symbol(const char* name) const { return ::dlsym(library_, name); }

bool Dcgm::Open(const std::string& library, std::string* error) {
  library_ = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library_ == nullptr) {
    *error = ::dlerror();
    return false;
  }
  const auto init = reinterpret_cast<int (*)()>(Symbol("dcgmInit"));
  const auto start = reinterpret_cast<int (*)(int, std::uintptr_t*)>(Symbol("dcgmStartEmbedded"));
  const auto set =
      reinterpret_cast<int (*)(std::uintptr_t, std::uintptr_t, unsigned)>(Symbol("dcgmHealthSet"));
  if (init == nullptr || start == nullptr || set == nullptr ||
      Symbol("dcgmHealthCheck") == nullptr) {
    *error = "the library lacks a function";
    return false;
  }
  int result = init();
  if (result == kOk) result = start(kModeAuto, &engine_);
  if (result == kOk) result = set(engine_, kAllGpus, kAllSystems);
  if (result == kOk) return true;
  *error = "the engine did not start: " + std::to_string(result);
  return false;
}

void Dcgm::Check(const std::function<std::string(std::size_t)>& uuid_of) {
  const auto check = reinterpret_cast<CheckFunction>(Symbol("dcgmHealthCheck"));
  std::string incidents;
  const bool is_answered = Ask<ResponseV5>(check, engine_, 5, uuid_of, &incidents) ||
                           Ask<ResponseV4>(check, engine_, 4, uuid_of, &incidents);
  if (!is_answered || incidents == last_) return;
  last_ = incidents;
  PrintLine(JsonLine().Text("type", "health").Raw("incidents", incidents).Take());
}

}  // namespace dstack::gpu_probe
