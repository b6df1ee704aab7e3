// Backpropagation in a memory budget: which activations are kept, which states are, and what is computed again from them.
//
// A shard's chunks are taken together as leaves. The last leaf's activations are kept; of what lies before it, states at
// some leaves' beginnings, from which the others are computed again, one leaf at a time, in the room of the last one.
// With `slots` states the order is that of Griewank & Walther 2000 (revolve), which computes the fewest leaves again;
// Gruslys et al. 2016 brought it to recurrent networks.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"
#include "memory.h"

namespace tt {

// How a shard of so many chunks is taken apart. One leaf: everything is kept.
struct Plan {
  int64_t chunks_per_leaf = 1, leaves = 1, slots = 0;
};

// The plan that computes the fewest chunks again and holds at most `budget` bytes, where a chunk's activations have
// `chunk_bytes` and a state `state_bytes`; among equals that of the fewest bytes. None computes a chunk more than
// kMostRepeats times again: a budget for which there is no such plan gets the one of the fewest bytes.
Plan planned(int64_t chunks, size_t chunk_bytes, size_t state_bytes, size_t budget);

// Leaves that are computed again when so many are taken back with so many slots.
int64_t recomputed(int64_t leaves, int64_t slots);

// Where the next state is kept: so many leaves from the last one.
int64_t advance(int64_t leaves, int64_t slots);

// A run of a shard's steps that was computed again.
struct Again {
  int32_t shard, begin_step, end_step;
};

// One shard of one forward and backward pass.
class Recomputation {
 public:
  // `budget` 0: everything is kept.
  Recomputation(const tt_problem &problem, const Shard &shard, size_t budget);

  size_t bytes() const;
  bool keeps_all() const { return plan_.leaves == 1; }

  // The forward pass; work.kept and what is said of states are set here. Once.
  void forward(const Kernels &kernels, ForwardWork work);

  // The backward pass, once; runs that are computed again are noted in `again`. `forward` is a work without outputs.
  void backward(const Kernels &kernels, BackwardWork work, ForwardWork forward, int32_t number,
                std::vector<Again> *again);

 private:
  struct Checkpoint {
    int64_t leaf;
    int64_t slot;
  };

  int32_t chunk_of(int64_t leaf) const;
  // Leaves [from, until) from the last checkpoint before, keeping states where there are slots, and the last leaf.
  void descend(const Kernels &kernels, ForwardWork &work, int64_t until);
  float *state(int64_t slot) { return states_.floats() + static_cast<size_t>(slot) * state_floats_; }

  const Shard shard_;
  const Plan plan_;
  const size_t state_floats_;
  Block kept_, states_;
  std::vector<Checkpoint> checkpoints_;
  std::vector<int64_t> free_;
};

// What of the budget a shard gets.
size_t share_of(size_t budget, const Shard &shard, int64_t tokens);

}  // namespace tt
