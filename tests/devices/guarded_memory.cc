#include "guarded_memory.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace vivace {
namespace {

std::vector<GuardedMemory*> g_memories;

// Says whose memory was touched; the process then ends as it would have.
void on_fault(int signal, siginfo_t* info, void*) {
  for (const GuardedMemory* memory : g_memories)
    if (const std::string what = memory->describe(info->si_addr); !what.empty()) (void)!::write(STDERR_FILENO, what.data(), what.size());
  ::signal(signal, SIG_DFL);
}

}  // namespace

GuardedMemory::GuardedMemory() {
  g_memories.push_back(this);
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  ::sigaction(SIGSEGV, &action, nullptr);
}

GuardedMemory::~GuardedMemory() {
  std::erase(g_memories, this);
  for (const Range& range : ranges_) ::munmap(range.begin, range.pages);
}

void* GuardedMemory::allocate(size_t bytes) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE)), used = (std::max<size_t>(bytes, 1) + page - 1) / page * page;
  // The page behind is never readable. What is written beyond the end within the last page goes unseen, as kernels of whole vectors may.
  auto* begin = static_cast<char*>(::mmap(nullptr, used + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (begin == MAP_FAILED) return nullptr;
  std::memset(begin, kPoison, used);
  ::mprotect(begin, used + page, PROT_NONE);
  const std::lock_guard lock(mutex_);
  ranges_.push_back({begin, used, used + page});
  return begin;
}

void GuardedMemory::free(void* memory) {
  const std::lock_guard lock(mutex_);
  Range& range = *std::ranges::find(ranges_, static_cast<char*>(memory), &Range::begin);
  ::mprotect(range.begin, range.bytes, PROT_NONE);
  ::madvise(range.begin, range.bytes, MADV_DONTNEED);
  range.freed = true;
}

bool GuardedMemory::holds(const void* memory, size_t bytes) const {
  const auto* at = static_cast<const char*>(memory);
  const std::lock_guard lock(mutex_);
  return std::ranges::any_of(ranges_, [&](const Range& r) { return !r.freed && at >= r.begin && at + bytes <= r.begin + r.bytes; });
}

void GuardedMemory::protect(int protection) {
  for (const Range& range : ranges_)
    if (!range.freed) ::mprotect(range.begin, range.bytes, protection);
}

GuardedMemory::Unlocked::Unlocked(GuardedMemory& memory) : memory_(memory), lock_(memory.mutex_) { memory.protect(PROT_READ | PROT_WRITE); }
GuardedMemory::Unlocked::~Unlocked() { memory_.protect(PROT_NONE); }

std::string GuardedMemory::describe(const void* address) const {
  const auto* at = static_cast<const char*>(address);
  for (const Range& range : ranges_) {
    if (at < range.begin || at >= range.begin + range.pages) continue;
    std::string text = range.freed                       ? "freed memory of the device was touched"
                       : at >= range.begin + range.bytes ? "memory behind a buffer of the device was touched"
                                                         : "the host touched memory of the device";
    for (const MemoryLabel& label : labels) {
      const auto* begin = static_cast<const char*>(label.begin);
      if (at >= begin && at < begin + label.bytes) text += "; " + label.name;
    }
    return text + '\n';
  }
  return "";
}

}  // namespace vivace
