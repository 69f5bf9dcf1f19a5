#include "interrupt.h"

#include <nanobind/nanobind.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace vivace::python {
namespace {

namespace nb = nanobind;

// A handler may do no more than set a flag, which is looked at so often.
constexpr std::chrono::milliseconds kLook{20};
std::atomic<bool> interrupted = false;
struct sigaction before;
const StopAtInterrupt* outermost = nullptr;  // of the calls on the main thread, within whose callbacks there may be others

// Python's own is called as well: it raises KeyboardInterrupt once the call has returned.
void on_signal(int number) {
  interrupted = true;
  if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) before.sa_handler(number);
}

bool would_raise() {
  const nb::module_ threading = nb::module_::import_("threading"), signals = nb::module_::import_("signal");
  return threading.attr("current_thread")().is(threading.attr("main_thread")()) &&
         signals.attr("getsignal")(signals.attr("SIGINT")).is(signals.attr("default_int_handler"));
}

}  // namespace

StopAtInterrupt::StopAtInterrupt() {
  if (!would_raise()) return;
  if (outermost) {  // the handler is there, and stops both
    source_ = outermost->source_;
    return;
  }
  interrupted = false;
  struct sigaction own {};
  own.sa_handler = on_signal;
  sigemptyset(&own.sa_mask);
  installed_ = ::sigaction(SIGINT, &own, &before) == 0;
  if (!installed_) return;
  outermost = this;
  watcher_ = std::jthread([this](const std::stop_token& done) {
    std::mutex mutex;
    std::condition_variable_any waiting;
    std::unique_lock lock(mutex);
    while (!waiting.wait_for(lock, done, kLook, [] { return interrupted.load(); }))
      if (done.stop_requested()) return;
    source_.request_stop();
  });
}

StopAtInterrupt::~StopAtInterrupt() {
  if (!installed_) return;
  ::sigaction(SIGINT, &before, nullptr);
  outermost = nullptr;
}

}  // namespace vivace::python
