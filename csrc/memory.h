// Memory that is used again, since fresh pages cost as much as the kernels at small sizes; and what a forward pass keeps
// for its backward pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace tt {

// A piece of memory, 64-byte aligned, contents unspecified; given back when it goes out of scope.
class Block {
 public:
  Block() = default;
  Block(Block &&other) noexcept : data_(other.data_), bytes_(other.bytes_) { other.data_ = nullptr; }
  Block &operator=(Block &&other) noexcept;
  ~Block() { give_back(); }

  // Up to `slack` times as large, where one of that size waits to be used again; with 1 in whole pages and no more.
  // Throws std::bad_alloc.
  static Block of_floats(size_t count, size_t slack = 2);

  float *floats() const { return static_cast<float *>(data_); }
  size_t bytes() const { return bytes_; }

 private:
  void give_back() noexcept;

  void *data_ = nullptr;
  size_t bytes_ = 0;
};

size_t idle_bytes();
void trim_idle();

// Anything that can be kept under a ticket.
class Kept {
 public:
  virtual ~Kept() = default;
  virtual size_t bytes() const = 0;
};

// Keeps it, evicting the oldest ones beyond the limit, and returns its ticket, which is never 0.
uint64_t keep(std::unique_ptr<Kept> kept);

// Takes it out; null where it is gone.
std::unique_ptr<Kept> take(uint64_t ticket);

// The limit before; 0 only asks.
uint64_t keep_at_most(uint64_t bytes);

size_t kept_bytes();

}  // namespace tt
