// Keras's weights to what the kernels read, and the sums of the kernels to Keras's gradients.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"
#include "memory.h"

namespace tt {

// Which columns of a Keras weight matrix the parts of 16 columns come from, in the order of the packed weights.
struct Columns {
  struct Part {
    int64_t start;  // in the Keras matrix
    int width;      // 1 to 16; the rest of the 16 is zero
  };
  std::vector<Part> parts;
  int tile;        // parts in a group
  int64_t stride;  // columns of the Keras matrix

  int groups() const { return static_cast<int>((parts.size() + tile - 1) / tile); }
  size_t group_floats(int64_t rows) const { return static_cast<size_t>(rows) * tile * kLane; }
  size_t floats(int64_t rows) const { return group_floats(rows) * groups(); }
};

// All weights of one problem.
class Packing {
 public:
  explicit Packing(const tt_problem &problem);

  // Packs with up to `threads` threads; the transposed weights where a backward pass needs them. What is returned points
  // into `block`.
  Packed pack(const tt_inputs &inputs, bool transposed, bool dx, int threads, Block &block) const;

  // Floats of one shard's sums, and where they lie in them.
  size_t sum_floats() const;
  Sums sums(float *floats, const tt_gradients &gradients) const;

  // Adds up the shards' sums, in their order, and writes the gradients.
  void unpack(const std::vector<Sums> &sums, const tt_gradients &gradients, int threads) const;

 private:
  size_t factor_floats() const;  // of an LRU's lambda

  const tt_problem problem_;
  const Layout layout_;
  Columns x_, h_, candidate_;
  bool has_candidate_;
};

}  // namespace tt
