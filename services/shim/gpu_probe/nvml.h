#pragma once

#include <string>
#include <vector>

namespace dstack::gpu_probe {

// The driver's library, opened at run time. Everything it cannot tell is left out of what is
// printed. Not thread-safe.
class Nvml {
 public:
  // Opens `library` (a path, or a name for the loader) and starts it. False: `error` says why.
  bool Open(const std::string& library, std::string* error);

  // Prints {"type":"facts", ...}: cards with their slices, and direct and PCI links between cards.
  void PrintFacts();

  // Asks the driver to tell about errors from now on.
  void BeginEvents();
  // Waits for the next one and prints {"type":"event", ...}; returns after `timeout_ms` at most.
  void WaitEvent(unsigned timeout_ms);
  // Prints {"type":"sample", ...}, and {"type":"lost", ...} once for each card that is gone.
  void PrintSample();

  // UUID of the card with this index; empty when there is none.
  std::string UuidOf(std::size_t index) const;

 private:
  using Handle = void*;

  struct Card {
    Handle handle = nullptr;
    std::string uuid;
    std::string pci;
    bool is_lost = false;
  };

  // An entry of the library, called with these arguments; NVML's "function not found" without it.
  template <typename... Args>
  int Call(const char* name, Args... args) const;

  std::string SlicesOf(const Card& card) const;
  std::string LinkBetween(std::size_t first, std::size_t second) const;
  unsigned LanesBetween(const Card& first, const Card& second) const;
  const Card* Find(Handle handle) const;

  void* library_ = nullptr;
  std::vector<Card> cards_;
  void* events_ = nullptr;
};

}  // namespace dstack::gpu_probe
