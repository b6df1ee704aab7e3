// Backpropagation in a memory budget gives what it gives without one, bit for bit, and holds what it says.
#include <string>
#include <vector>

#include "check.h"
#include "recurrence.h"

namespace {

constexpr int64_t kTiny = 1;  // the fewest bytes that the library goes down to

std::vector<int32_t> recomputed() {
  std::vector<int32_t> triples(3 * static_cast<size_t>(tt_recomputed(nullptr, 0)));
  tt_recomputed(triples.data(), static_cast<int64_t>(triples.size() / 3));
  return triples;
}

uint64_t kept() {
  uint64_t bytes = 0;
  tt_memory(&bytes, nullptr);
  return bytes;
}

TEST(a_budget_changes_no_result) {
  for (const int32_t isa : supported_isas()) {
    for (const int32_t cell : kCells) {
      for (int mask = NO_MASK; mask < MASKS; ++mask) {
        // 19 sequences of 300 steps are 23 chunks of 256 steps of sequences, and of 5 sequences a few of them.
        for (const Shape shape : {Shape{19, 300, 3, 17}, Shape{5, 611, 2, 6}, Shape{1, 1500, 1, 3}}) {
          Recurrence recurrence(cell, shape, static_cast<Mask>(mask));
          recurrence.problem.isa = isa;
          recurrence.problem.threads = 2;
          recurrence.problem.reverse = mask & 1;
          recurrence.problem.leading_initial = mask >> 1 & 1;
          const Found whole = results(recurrence);
          EXPECT(recomputed().empty(), "computed again without a budget, at " + recurrence.words());
          for (const int64_t budget : {kTiny, int64_t{100} << 10, int64_t{1} << 20}) {
            recurrence.problem.keep_bytes = budget;
            EXPECT(results(recurrence) == whole, std::to_string(budget) + " bytes at " + recurrence.words());
            if (budget == kTiny && mask == NO_MASK) EXPECT(!recomputed().empty(), recurrence.words());
            Wanted without_ticket;
            without_ticket.ticket = false;
            EXPECT(results(recurrence, without_ticket).gradients == whole.gradients, recurrence.words());
          }
        }
      }
    }
  }
}

TEST(a_budget_is_kept) {
  for (const int32_t cell : kCells) {
    Recurrence recurrence(cell, {2, 20000, 1, 16}, NO_MASK);
    recurrence.problem.threads = 1;
    uint64_t least = ~uint64_t{0};
    for (const int64_t budget : {int64_t{0}, int64_t{1} << 20, int64_t{200} << 10}) {
      recurrence.problem.keep_bytes = budget;
      Call call(recurrence);
      const uint64_t before = kept();
      EXPECT(call.forward() == TT_OK, recurrence.words());
      const uint64_t schedule = 2 * 20000 * 12 + 20000 * 8 + 8192, held = kept() - before;
      if (budget > 0) EXPECT(held <= static_cast<uint64_t>(budget) + schedule, std::to_string(held));
      EXPECT(held < least, "a smaller budget holds no less");
      least = held;
      EXPECT(call.backward() == TT_OK && kept() == before, recurrence.words());
    }
  }
}

TEST(with_a_state_a_leaf_each_step_is_computed_again_once) {
  Recurrence recurrence(TT_GRU, {1, 5000, 1, 8}, NO_MASK);
  recurrence.problem.keep_bytes = 200 << 10;  // two chunks and some states: a step of 8 units has 320 bytes
  Call(recurrence).both();
  int32_t next = -1;
  for (size_t at = 0; at < recomputed().size(); at += 3) {
    const std::vector<int32_t> all = recomputed();
    EXPECT(all[at] == 0 && (next < 0 || all[at + 2] == next), "not the run before the one before");
    next = all[at + 1];
  }
  EXPECT(next == 0, "does not end at the first step");
}

TEST(a_negative_budget_is_refused) {
  Recurrence recurrence(TT_LSTM, {2, 3, 4, 5}, NO_MASK);
  recurrence.problem.keep_bytes = -1;
  EXPECT(Call(recurrence).forward() == TT_INVALID, "keep_bytes = -1");
}

}  // namespace
