#include "recompute.h"

#include <algorithm>
#include <limits>

namespace tt {
namespace {

// Beyond that a budget is refused: five forward passes for one backward pass.
constexpr int64_t kMostRepeats = 4;
constexpr int64_t kMany = std::numeric_limits<int64_t>::max() / 4;

// n over k, or kMany where it is more.
int64_t binomial(int64_t n, int64_t k) {
  k = std::min(k, n - k);
  if (k < 0) return 0;
  int64_t result = 1;
  for (int64_t i = 1; i <= k; ++i) {
    if (result > kMany / (n - k + i)) return kMany;
    result = result * (n - k + i) / i;
  }
  return result;
}

// How often a leaf is passed over at most, with so many slots besides the state that is there.
int64_t repeats(int64_t leaves, int64_t slots) {
  int64_t r = 0;
  while (binomial(slots + 1 + r, r) < leaves) ++r;
  return r;
}

int64_t ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

int64_t recomputed(int64_t leaves, int64_t slots) {
  // Griewank & Walther: all advances are r l - C(s + 1 + r, r - 1). The first of each leaf is the forward pass itself;
  // computing it once more for its activations is spared for the last leaf alone.
  const int64_t r = repeats(leaves, slots);
  return r * leaves - binomial(slots + 1 + r, r - 1);
}

int64_t advance(int64_t leaves, int64_t slots) {
  const int64_t r = repeats(leaves, slots), s = slots + 1;
  // As many leaves as may lie behind the next state, and as few as have to lie before it.
  return std::max<int64_t>({1, leaves - binomial(s - 1 + r, r), binomial(s + r - 2, r - 2)});
}

Plan planned(int64_t chunks, size_t chunk_bytes, size_t state_bytes, size_t budget) {
  if (chunks <= 1 || static_cast<size_t>(chunks) <= budget / chunk_bytes) return {std::max<int64_t>(chunks, 1), 1, 0};
  Plan best, least;
  int64_t best_cost = kMany, fewest = chunks - 1;  // slots
  size_t best_bytes = std::numeric_limits<size_t>::max(), least_bytes = best_bytes;
  for (int64_t chunks_per_leaf = 1; chunks_per_leaf < chunks; ++chunks_per_leaf) {
    const size_t leaf = static_cast<size_t>(chunks_per_leaf) * chunk_bytes;
    const int64_t leaves = ceiling(chunks, chunks_per_leaf);
    while (fewest > 0 && binomial(fewest + kMostRepeats, kMostRepeats) >= leaves) --fewest;
    const size_t needed = leaf + static_cast<size_t>(fewest) * state_bytes;
    if (needed < least_bytes) {
      least_bytes = needed;
      least = {chunks_per_leaf, leaves, fewest};
    }
    if (leaf > budget && leaf > least_bytes) break;
    if (needed > budget) continue;
    const int64_t slots = std::min<int64_t>(leaves - 1, static_cast<int64_t>((budget - leaf) / state_bytes));
    // The first leaf is the smaller one, where they do not come out even.
    const int64_t cost = recomputed(leaves, slots) * chunks_per_leaf - (leaves * chunks_per_leaf - chunks);
    const size_t bytes = leaf + static_cast<size_t>(slots) * state_bytes;
    if (cost < best_cost || (cost == best_cost && bytes < best_bytes)) {
      best_cost = cost;
      best_bytes = bytes;
      best = {chunks_per_leaf, leaves, slots};
    }
  }
  return best_cost < kMany ? best : least;
}

size_t share_of(size_t budget, const Shard &shard, int64_t tokens) {
  if (budget == 0 || tokens == 0) return 0;
  const double share = static_cast<double>(budget) * shard.tokens / static_cast<double>(tokens);
  return std::max<size_t>(1, static_cast<size_t>(share));
}

namespace {

Plan plan_of(const tt_problem &problem, const Shard &shard, size_t budget) {
  if (budget == 0) return {std::max(shard.chunks, 1), 1, 0};
  const size_t chunk = kept_per_token(problem) * static_cast<size_t>(shard.most_tokens) * sizeof(float);
  return planned(shard.chunks, std::max<size_t>(chunk, 1), state_floats(problem, shard) * sizeof(float), budget);
}

}  // namespace

Recomputation::Recomputation(const tt_problem &problem, const Shard &shard, size_t budget)
    : shard_(shard), plan_(plan_of(problem, shard, budget)), state_floats_(state_floats(problem, shard)) {
  size_t most = 0;  // tokens of a leaf
  for (int64_t leaf = 0; leaf < plan_.leaves && shard.chunks > 0; ++leaf) {
    const Chunk &first = shard.chunk[chunk_of(leaf)], &last = shard.chunk[chunk_of(leaf + 1) - 1];
    most = std::max(most, static_cast<size_t>(last.first_token + last.tokens - first.first_token));
  }
  kept_ = Block::of_floats(kept_per_token(problem) * most, keeps_all() ? 2 : 1);
  if (plan_.slots > 0) states_ = Block::of_floats(static_cast<size_t>(plan_.slots) * state_floats_, 1);
  for (int64_t slot = plan_.slots; slot-- > 0;) free_.push_back(slot);
}

size_t Recomputation::bytes() const { return kept_.bytes() + states_.bytes(); }

int32_t Recomputation::chunk_of(int64_t leaf) const {
  return static_cast<int32_t>(std::max<int64_t>(shard_.chunks - (plan_.leaves - leaf) * plan_.chunks_per_leaf, 0));
}

void Recomputation::descend(const Kernels &kernels, ForwardWork &work, int64_t until) {
  int64_t from = checkpoints_.empty() ? 0 : checkpoints_.back().leaf;
  work.kept = kept_.floats();
  work.from_state = checkpoints_.empty() ? nullptr : state(checkpoints_.back().slot);
  while (until - from > 1 && !free_.empty()) {
    const int64_t to = from + advance(until - from, static_cast<int64_t>(free_.size()));
    const int64_t slot = free_.back();
    free_.pop_back();
    work.first_chunk = chunk_of(from);
    work.kept_chunk = work.end_chunk = chunk_of(to);
    work.to_state = state(slot);
    kernels.forward(work);
    checkpoints_.push_back({to, slot});
    work.from_state = work.to_state;
    from = to;
  }
  work.first_chunk = chunk_of(from);
  work.kept_chunk = chunk_of(until - 1);
  work.end_chunk = chunk_of(until);
  work.to_state = nullptr;
  kernels.forward(work);
}

void Recomputation::forward(const Kernels &kernels, ForwardWork work) { descend(kernels, work, plan_.leaves); }

void Recomputation::backward(const Kernels &kernels, BackwardWork work, ForwardWork forward, int32_t number,
                             std::vector<Again> *again) {
  work.kept = kept_.floats();
  for (int64_t leaf = plan_.leaves - 1; leaf >= 0; --leaf) {
    if (leaf < plan_.leaves - 1) {
      while (!checkpoints_.empty() && checkpoints_.back().leaf > leaf) {
        free_.push_back(checkpoints_.back().slot);
        checkpoints_.pop_back();
      }
      const int64_t from = checkpoints_.empty() ? 0 : checkpoints_.back().leaf;
      descend(kernels, forward, leaf + 1);
      again->push_back({number, shard_.chunk[chunk_of(from)].first_step, shard_.chunk[chunk_of(leaf + 1) - 1].end_step});
    }
    work.first_chunk = chunk_of(leaf);
    work.end_chunk = chunk_of(leaf + 1);
    kernels.backward(work);
  }
}

}  // namespace tt
