#include "taps.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace tt {
namespace {

struct Left {
  uint64_t passes = 0;
  int64_t batch = 0, steps = 0;
  std::vector<float> norms;
  std::vector<uint8_t> mask;  // empty: all valid
};

struct Taps {
  std::mutex mutex;
  std::map<int32_t, Left> left;
  std::set<int32_t> shut;
};

// Never destroyed, since a framework's threads may still run a backward pass while the process ends.
Taps &taps() {
  static Taps *one = [] {
    Taps *made = new Taps;
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork([] { taps().mutex.lock(); }, [] { taps().mutex.unlock(); }, [] { taps().mutex.unlock(); });
#endif
    return made;
  }();
  return *one;
}

}  // namespace

bool is_open(int32_t tap) {
  if (tap == 0) return false;
  Taps &all = taps();
  std::lock_guard<std::mutex> lock(all.mutex);
  return all.shut.count(tap) == 0;
}

void leave_at_tap(const tt_problem &problem, const uint8_t *mask, std::vector<float> norms, int32_t tap) {
  std::vector<uint8_t> copied(mask, mask != nullptr ? mask + problem.batch * problem.steps : mask);
  Taps &all = taps();
  std::lock_guard<std::mutex> lock(all.mutex);
  Left &left = all.left[tap];
  ++left.passes;
  left.batch = problem.batch;
  left.steps = problem.steps;
  left.norms = std::move(norms);
  left.mask = std::move(copied);
}

}  // namespace tt

extern "C" {

uint64_t tt_tap(int32_t tap, int64_t *batch, int64_t *steps) {
  tt::Taps &all = tt::taps();
  std::lock_guard<std::mutex> lock(all.mutex);
  const auto found = all.left.find(tap);
  if (found == all.left.end()) return 0;
  if (batch != nullptr) *batch = found->second.batch;
  if (steps != nullptr) *steps = found->second.steps;
  return found->second.passes;
}

int32_t tt_read_tap(int32_t tap, int64_t batch, int64_t steps, float *norms, uint8_t *mask) {
  tt::Taps &all = tt::taps();
  std::lock_guard<std::mutex> lock(all.mutex);
  const auto found = all.left.find(tap);
  if (found == all.left.end() || found->second.batch != batch || found->second.steps != steps) return TT_INVALID;
  const tt::Left &left = found->second;
  std::copy(left.norms.begin(), left.norms.end(), norms);
  if (mask == nullptr) return TT_OK;
  if (left.mask.empty()) {
    std::fill(mask, mask + batch * steps, uint8_t{1});
  } else {
    std::transform(left.mask.begin(), left.mask.end(), mask, [](uint8_t valid) { return uint8_t{valid != 0}; });
  }
  return TT_OK;
}

void tt_shut_tap(int32_t tap, int32_t shut) {
  tt::Taps &all = tt::taps();
  std::lock_guard<std::mutex> lock(all.mutex);
  if (shut != 0) {
    all.shut.insert(tap);
  } else {
    all.shut.erase(tap);
  }
}

void tt_close_tap(int32_t tap) {
  tt::Taps &all = tt::taps();
  std::lock_guard<std::mutex> lock(all.mutex);
  all.left.erase(tap);
  all.shut.erase(tap);
}

}  // extern "C"
