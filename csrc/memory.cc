#include "memory.h"

#include <chrono>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace tt {
namespace {

constexpr size_t kHuge = size_t{2} << 20;
constexpr uint64_t kUnknownMemory = uint64_t{4} << 30;

uint64_t machine_memory() {
#if defined(_SC_PHYS_PAGES) && defined(_SC_PAGESIZE)
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  if (pages > 0 && page > 0) return static_cast<uint64_t>(pages) * static_cast<uint64_t>(page);
#endif
  return kUnknownMemory;
}

void *fresh(size_t bytes) {
  void *data = std::aligned_alloc(bytes % kHuge == 0 ? kHuge : 4096, bytes);
  if (data == nullptr) throw std::bad_alloc();
#if defined(__linux__)
  if (bytes >= kHuge) madvise(data, bytes, MADV_HUGEPAGE);  // advice: where it is not taken, nothing is lost
#endif
  return data;
}

struct Store {
  std::mutex mutex;
  std::multimap<size_t, void *> idle;  // by size
  size_t idle_bytes = 0;
  size_t idle_limit = machine_memory() / 8;

  std::map<uint64_t, std::unique_ptr<Kept>> kept;  // by age
  size_t kept_bytes = 0;
  uint64_t limit = machine_memory() / 4;
  // A ticket of another process must not name anything here. From the clock: std::random_device would ask for glibc 2.36.
  uint64_t next_ticket = (static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) << 20) + 1;
};

// Never destroyed, since frameworks free their tensors, and with them tickets, after static destructors have run.
Store &store() {
  static Store *one = [] {
    Store *made = new Store;
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork([] { store().mutex.lock(); }, [] { store().mutex.unlock(); }, [] { store().mutex.unlock(); });
#endif
    return made;
  }();
  return *one;
}

// Takes out the oldest ones, all but `spared`, until the limit holds. Under the mutex; what is returned gives its blocks
// back when it is destroyed, and that takes the mutex.
std::vector<std::unique_ptr<Kept>> evict(Store &memory, size_t spared) {
  std::vector<std::unique_ptr<Kept>> evicted;
  while (memory.kept.size() > spared && memory.kept_bytes > memory.limit) {
    const auto oldest = memory.kept.begin();
    memory.kept_bytes -= oldest->second->bytes();
    evicted.push_back(std::move(oldest->second));
    memory.kept.erase(oldest);
  }
  return evicted;
}

size_t rounded(size_t bytes, bool huge) {
  const size_t unit = huge && bytes >= kHuge ? kHuge : 4096;
  return (bytes + unit - 1) / unit * unit;
}

}  // namespace

Block &Block::operator=(Block &&other) noexcept {
  if (this != &other) {
    give_back();
    data_ = other.data_;
    bytes_ = other.bytes_;
    other.data_ = nullptr;
  }
  return *this;
}

Block Block::of_floats(size_t count, size_t slack) {
  Block block;
  block.bytes_ = rounded(count == 0 ? 1 : count * sizeof(float), slack > 1);
  Store &memory = store();
  {
    std::lock_guard<std::mutex> lock(memory.mutex);
    const auto found = memory.idle.lower_bound(block.bytes_);
    if (found != memory.idle.end() && found->first <= slack * block.bytes_) {
      block.bytes_ = found->first;
      block.data_ = found->second;
      memory.idle_bytes -= block.bytes_;
      memory.idle.erase(found);
      return block;
    }
  }
  block.data_ = fresh(block.bytes_);
  return block;
}

void Block::give_back() noexcept {
  if (data_ == nullptr) return;
  Store &memory = store();
  {
    std::lock_guard<std::mutex> lock(memory.mutex);
    if (memory.idle_bytes + bytes_ <= memory.idle_limit) {
      memory.idle.emplace(bytes_, data_);
      memory.idle_bytes += bytes_;
      data_ = nullptr;
    }
  }
  std::free(data_);
  data_ = nullptr;
}

size_t idle_bytes() {
  std::lock_guard<std::mutex> lock(store().mutex);
  return store().idle_bytes;
}

void trim_idle() {
  std::multimap<size_t, void *> idle;
  {
    std::lock_guard<std::mutex> lock(store().mutex);
    idle.swap(store().idle);
    store().idle_bytes = 0;
  }
  for (const auto &entry : idle) std::free(entry.second);
}

uint64_t keep(std::unique_ptr<Kept> kept) {
  Store &memory = store();
  std::vector<std::unique_ptr<Kept>> evicted;
  std::lock_guard<std::mutex> lock(memory.mutex);
  const uint64_t ticket = memory.next_ticket++;
  memory.kept_bytes += kept->bytes();
  memory.kept.emplace(ticket, std::move(kept));
  evicted = evict(memory, 1);
  return ticket;
}

std::unique_ptr<Kept> take(uint64_t ticket) {
  Store &memory = store();
  std::lock_guard<std::mutex> lock(memory.mutex);
  const auto found = memory.kept.find(ticket);
  if (found == memory.kept.end()) return nullptr;
  std::unique_ptr<Kept> kept = std::move(found->second);
  memory.kept.erase(found);
  memory.kept_bytes -= kept->bytes();
  return kept;
}

uint64_t keep_at_most(uint64_t bytes) {
  Store &memory = store();
  std::vector<std::unique_ptr<Kept>> evicted;
  std::lock_guard<std::mutex> lock(memory.mutex);
  const uint64_t before = memory.limit;
  if (bytes != 0) memory.limit = bytes;
  evicted = evict(memory, 1);
  return before;
}

size_t kept_bytes() {
  std::lock_guard<std::mutex> lock(store().mutex);
  return store().kept_bytes;
}

}  // namespace tt
