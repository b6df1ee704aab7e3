// Runs all tests of the C ABI, or those whose names contain the argument. Exits with 1 where one failed.
#include <atomic>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <set>
#include <utility>

#include "check.h"

namespace check {
namespace {

std::mutex mutex;
std::atomic<int> failure_count{0};
std::set<std::pair<std::string, int>> printed;

}  // namespace

std::vector<Test> &tests() {
  static std::vector<Test> all;
  return all;
}

void failed(const char *file, int line, const std::string &what) {
  failure_count.fetch_add(1);
  const std::lock_guard<std::mutex> lock(mutex);
  if (printed.emplace(file, line).second) std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
}

int failures() { return failure_count.load(); }

}  // namespace check

// The tests fork while the library has threads, and the child starts threads of its own; the thread sanitizer stops there
// unless it is told that this is meant.
extern "C" __attribute__((visibility("default"))) const char *__tsan_default_options() { return "die_after_fork=0"; }

int main(int count, char **arguments) {
  int passed = 0, failed = 0;
  for (const check::Test &test : check::tests()) {
    if (count > 1 && std::strstr(test.name.c_str(), arguments[1]) == nullptr) continue;
    check::failure_count = 0;
    check::printed.clear();
    test.run();
    const int failures = check::failures();
    ++(failures == 0 ? passed : failed);
    if (failures != 0) std::printf("FAILED %s: %d checks\n", test.name.c_str(), failures);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed != 0 || passed == 0;
}
