#include "pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace tt {
namespace {

// A sleeping worker costs 40 to 90 microseconds to wake, and forward and backward follow each other closely: a worker
// looks for work this long before it sleeps, and a caller as long before it waits for the last worker.
constexpr std::chrono::microseconds kSpin{60};

struct Job {
  void (*run)(void *, int);
  void *context;
  int tasks;
  int places;                // how many more workers may join; under the pool's mutex
  std::atomic<int> next{0};  // the first task that nobody has taken
  std::atomic<int> inside{0};  // workers that hold a pointer to this job
  Job *following = nullptr;  // under the pool's mutex

  void work() {
    for (int task = next.fetch_add(1, std::memory_order_relaxed); task < tasks;
         task = next.fetch_add(1, std::memory_order_relaxed)) {
      run(context, task);
    }
  }
};

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

template <class Done>
bool spin_until(const Done &done) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

class Pool {
 public:
  void run(Job &job, int helpers) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      while (workers_ < helpers && start_worker()) {
      }
      job.places = helpers < workers_ ? helpers : workers_;
      if (job.places > 0) {
        job.following = jobs_;
        jobs_ = &job;
        posted_.fetch_add(1, std::memory_order_relaxed);
      }
    }
    for (int i = 0; i < helpers; ++i) wake_.notify_one();
    job.work();
    if (helpers == 0) return;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      for (Job **at = &jobs_; *at != nullptr; at = &(*at)->following) {
        if (*at == &job) {
          *at = job.following;
          break;
        }
      }
    }
    // Nobody can join any more. The workers inside finish the task that they have.
    const auto left = [&job] { return job.inside.load(std::memory_order_acquire) == 0; };
    if (spin_until(left)) {
      std::unique_lock<std::mutex> lock(mutex_);  // the last worker touches the job under the mutex only
      return;
    }
    std::unique_lock<std::mutex> lock(mutex_);
    finished_.wait(lock, left);
  }

  void rouse(int helpers) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      if (workers_ < helpers) helpers = workers_;
      ++roused_;
    }
    for (int i = 0; i < helpers; ++i) wake_.notify_one();
  }

 private:
  bool start_worker() {  // under the mutex
    try {
      std::thread([this] { serve(); }).detach();
    } catch (const std::system_error &) {
      return false;  // no thread to be had: the caller does the work
    }
    ++workers_;
    return true;
  }

  Job *join() {  // under the mutex
    for (Job *job = jobs_; job != nullptr; job = job->following) {
      if (job->places > 0 && job->next.load(std::memory_order_relaxed) < job->tasks) {
        --job->places;
        job->inside.fetch_add(1, std::memory_order_relaxed);
        return job;
      }
    }
    return nullptr;
  }

  [[noreturn]] void serve() {
    unsigned roused = 0;
    for (;;) {
      Job *job;
      unsigned posted;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return (job = join()) != nullptr || roused_ != roused; });
        roused = roused_;
        posted = posted_.load(std::memory_order_relaxed);
      }
      do {
        while (job != nullptr) {
          job->work();
          std::unique_lock<std::mutex> lock(mutex_);
          if (job->inside.fetch_sub(1, std::memory_order_release) == 1) finished_.notify_all();
          job = join();
          roused = roused_;
          posted = posted_.load(std::memory_order_relaxed);
        }
        if (!spin_until([&] { return posted_.load(std::memory_order_relaxed) != posted; })) break;
        std::unique_lock<std::mutex> lock(mutex_);
        job = join();
        posted = posted_.load(std::memory_order_relaxed);
      } while (true);
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, finished_;
  Job *jobs_ = nullptr;             // those that still take workers
  std::atomic<unsigned> posted_{0};  // how many jobs there ever were
  unsigned roused_ = 0;             // how often workers were roused; under the mutex
  int workers_ = 0;
};

// Never destroyed: workers may still wait on it while the process ends.
alignas(Pool) unsigned char memory[sizeof(Pool)];
std::once_flag made;

Pool &pool() {
  std::call_once(made, [] {
    new (memory) Pool;
#if defined(__unix__) || defined(__APPLE__)
    // The child of a fork has none of the workers, and a mutex in whatever state it was in.
    pthread_atfork(nullptr, nullptr, [] { new (memory) Pool; });
#endif
  });
  return *std::launder(reinterpret_cast<Pool *>(memory));
}

}  // namespace

void parallel_for(int tasks, int threads, void (*run)(void *, int), void *context) {
  const int helpers = (tasks < threads ? tasks : threads) - 1;
  if (helpers <= 0) {
    for (int task = 0; task < tasks; ++task) run(context, task);
    return;
  }
  Job job{run, context, tasks, 0};
  pool().run(job, helpers);
}

void rouse(int threads) {
  if (threads > 1) pool().rouse(threads - 1);
}

}  // namespace tt
