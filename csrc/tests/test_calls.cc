// What can be left out, what is refused, tickets and memory, and the environment.
#include <cstdlib>
#include <functional>

#include "check.h"
#include "recurrence.h"

namespace {

Recurrence small(int32_t cell) { return Recurrence(cell, {5, 7, 3, 18}, GAPS); }

// Outputs and gradients ----------------------------------------------------------------------------------------------

TEST(each_output_alone_is_what_it_is_with_the_others) {
  for (const int32_t cell : kCells) {
    const Recurrence recurrence = small(cell);
    const Found whole = results(recurrence);
    for (int output = Y; output <= OUTPUTS; ++output) {  // the last turn asks for none
      Wanted wanted;
      wanted.outputs = 1u << output;
      const Found found = results(recurrence, wanted);
      EXPECT(found.forward_status == TT_OK, recurrence.words());
      if (output < OUTPUTS) EXPECT(found.outputs[output] == whole.outputs[output], recurrence.words());
      EXPECT(found.gradients == whole.gradients, "gradients after a forward pass with few outputs");
    }
  }
}

TEST(each_gradient_alone_is_what_it_is_with_the_others) {
  for (const int32_t cell : kCells) {
    const Recurrence recurrence = small(cell);
    const Found whole = results(recurrence);
    for (int input = X; input <= INPUTS; ++input) {  // the last turn asks for the norms
      Wanted wanted;
      wanted.gradients = 1u << input;
      wanted.norms = input == INPUTS;
      const Found found = results(recurrence, wanted);
      EXPECT(found.backward_status == TT_OK, recurrence.words());
      if (input < INPUTS) EXPECT(found.gradients[input] == whole.gradients[input], recurrence.words());
      if (input == INPUTS) EXPECT(found.norms == whole.norms, recurrence.words());
    }
    Wanted nothing;
    nothing.gradients = 0;
    nothing.norms = false;
    EXPECT(results(recurrence, nothing).backward_status == TT_OK, recurrence.words());
  }
}

// Taps ---------------------------------------------------------------------------------------------------------------

TEST(a_tap_keeps_the_norms_of_the_last_pass) {
  constexpr int32_t kTap = 7;
  for (const int32_t cell : kCells) {
    for (const bool norms : {false, true}) {
      const Recurrence recurrence = small(cell), other(cell, {2, 3, 3, 18}, NO_MASK);
      const Found whole = results(recurrence);
      EXPECT(tt_tap(kTap, nullptr, nullptr) == 0, "passes before the first one");
      Call before(other), call(recurrence, [&] { Wanted wanted; wanted.norms = norms; return wanted; }());
      for (Call *one : {&before, &call}) {
        one->gradients.tap = kTap;
        one->forward();
        EXPECT(one->backward() == TT_OK, recurrence.words());
      }
      EXPECT(call.found.gradients == whole.gradients, "gradients of a pass with a tap");
      int64_t B = 0, T = 0;
      EXPECT(tt_tap(kTap, &B, &T) == 2, "passes");
      EXPECT(B == recurrence.problem.batch && T == recurrence.problem.steps, "the size of the last pass");
      Floats found(static_cast<size_t>(B * T), 0.0f);
      std::vector<uint8_t> mask(static_cast<size_t>(B * T));
      EXPECT(tt_read_tap(kTap, B, T, found.data(), mask.data()) == TT_OK, recurrence.words());
      EXPECT(found == whole.norms, recurrence.words());
      for (int64_t i = 0; i < B * T; ++i) EXPECT(mask[i] == (recurrence.mask[i] != 0), "the mask of the last pass");
      EXPECT(tt_read_tap(kTap, B + 1, T, found.data(), nullptr) == TT_INVALID, "another size");
      EXPECT(tt_tap(kTap + 1, nullptr, nullptr) == 0, "another tap");
      tt_shut_tap(kTap, 1);
      before.forward();
      EXPECT(before.backward() == TT_OK, recurrence.words());
      EXPECT(tt_tap(kTap, nullptr, nullptr) == 2, "a pass while the tap is shut");
      tt_shut_tap(kTap, 0);
      before.forward();
      EXPECT(before.backward() == TT_OK, recurrence.words());
      EXPECT(tt_tap(kTap, nullptr, nullptr) == 3, "a pass after the tap was opened again");
      tt_close_tap(kTap);
      EXPECT(tt_read_tap(kTap, B, T, found.data(), nullptr) == TT_INVALID, "a closed tap");
    }
  }
}

TEST(results_are_repeated_bit_for_bit) {
  for (const int32_t cell : kCells) {
    Recurrence recurrence(cell, {33, 41, 19, 35}, GAPS);
    recurrence.problem.threads = 3;
    EXPECT(results(recurrence) == results(recurrence), recurrence.words());
  }
}

// Tickets ------------------------------------------------------------------------------------------------------------

TEST(a_ticket_changes_no_result) {
  Wanted without;
  without.ticket = false;
  for (const int32_t cell : kCells) {
    const Recurrence recurrence = small(cell), other = Recurrence(cell, {4, 7, 3, 18}, GAPS);
    const Found whole = results(recurrence);
    EXPECT(results(recurrence, without) == whole, "no ticket");

    Call call(recurrence), one(other);
    EXPECT(call.forward() == TT_OK && call.ticket != 0, "a ticket is never 0");
    EXPECT(call.backward() == TT_OK && call.found == whole, "the first use");
    EXPECT(call.backward() == TT_OK && call.found == whole, "a ticket that was used");
    call.forward();
    tt_release(call.ticket);
    EXPECT(call.backward() == TT_OK && call.found == whole, "a ticket that was released");
    one.forward();
    call.ticket = one.ticket;
    EXPECT(call.backward() == TT_OK && call.found == whole, "a ticket of another problem");
    call.ticket = 12345;
    EXPECT(call.backward() == TT_OK && call.found == whole, "a ticket that never was");
  }
}

TEST(tickets_hold_memory_until_they_are_used_released_or_evicted) {
  const auto kept = [] {
    uint64_t bytes = 0;
    tt_memory(&bytes, nullptr);
    return bytes;
  };
  const Recurrence recurrence = small(TT_LSTM);
  const Found whole = results(recurrence);
  const uint64_t before = kept();
  tt_trim();  // a block that waits may be larger than what is asked for; without one, equal calls hold equally much
  Call used(recurrence), released(recurrence), evicted(recurrence), newest(recurrence);
  used.forward();
  const uint64_t one = kept() - before;
  EXPECT(one >= 5 * 7 / 2 * 18 * sizeof(float), "activations take memory");
  used.backward();
  EXPECT(kept() == before, "a ticket that was used holds nothing");
  released.forward();
  tt_release(released.ticket);
  tt_release(released.ticket);
  tt_release(0);
  EXPECT(kept() == before, "a ticket that was released holds nothing");

  const uint64_t limit = tt_keep_at_most(1);
  EXPECT(tt_keep_at_most(0) == 1, "0 only asks");
  tt_trim();
  evicted.forward();
  EXPECT(kept() == one, "the newest is kept whatever the limit");
  tt_trim();
  newest.forward();
  EXPECT(kept() == one, "the oldest is evicted");
  EXPECT(tt_keep_at_most(limit) == 1, "returns the limit before");
  evicted.backward();
  EXPECT(kept() == one && evicted.found == whole, "an evicted ticket is computed anew");
  newest.backward();
  EXPECT(kept() == 0 && newest.found == whole, "the newest was not evicted");

  uint64_t idle = 0;
  tt_memory(nullptr, &idle);
  EXPECT(idle > 0, "memory waits to be used again");
  tt_trim();
  tt_memory(nullptr, &idle);
  EXPECT(idle == 0, "trim gives it back");
  tt_memory(nullptr, nullptr);
  EXPECT(results(recurrence) == whole, "after trim");
}

// Arguments ----------------------------------------------------------------------------------------------------------

TEST(what_is_no_problem_is_refused) {
  const std::pair<const char *, std::function<void(Call &)>> wrong[] = {
      {"problem.struct_size", [](Call &call) { call.problem.struct_size -= 4; }},
      {"inputs.struct_size", [](Call &call) { call.inputs.struct_size = 0; }},
      {"cell -1", [](Call &call) { call.problem.cell = -1; }},
      {"cell beyond", [](Call &call) { call.problem.cell = TT_LRU + 1; }},
      {"batch", [](Call &call) { call.problem.batch = -1; }},
      {"steps", [](Call &call) { call.problem.steps = -1; }},
      {"more steps than an index holds", [](Call &call) { call.problem.steps = INT64_MAX / 2; }},
      {"features", [](Call &call) { call.problem.features = 0; }},
      {"units", [](Call &call) { call.problem.units = 0; }},
      {"reverse", [](Call &call) { call.problem.reverse = 2; }},
      {"leading_initial", [](Call &call) { call.problem.leading_initial = -1; }},
      {"masked_output", [](Call &call) { call.problem.masked_output = 2; }},
      {"threads", [](Call &call) { call.problem.threads = -1; }},
      {"x", [](Call &call) { call.inputs.x = nullptr; }},
      {"kernel", [](Call &call) { call.inputs.kernel = nullptr; }},
      {"recurrent_kernel", [](Call &call) { call.inputs.recurrent_kernel = nullptr; }},
  };
  for (const auto &[name, change] : wrong) {
    Call call(small(TT_LSTM));
    change(call);
    EXPECT(call.forward() == TT_INVALID, name);
    EXPECT(call.backward() == TT_INVALID, name);
  }
  Call call(small(TT_LSTM));
  EXPECT(tt_forward(nullptr, &call.inputs, &call.outputs) == TT_INVALID, "problem NULL");
  EXPECT(tt_forward(&call.problem, nullptr, &call.outputs) == TT_INVALID, "inputs NULL");
  EXPECT(tt_forward(&call.problem, &call.inputs, nullptr) == TT_INVALID, "outputs NULL");
  EXPECT(tt_backward(nullptr, &call.inputs, &call.cotangents, &call.gradients) == TT_INVALID, "problem NULL");
  EXPECT(tt_backward(&call.problem, nullptr, &call.cotangents, &call.gradients) == TT_INVALID, "inputs NULL");
  EXPECT(tt_backward(&call.problem, &call.inputs, nullptr, &call.gradients) == TT_INVALID, "cotangents NULL");
  EXPECT(tt_backward(&call.problem, &call.inputs, &call.cotangents, nullptr) == TT_INVALID, "gradients NULL");
  call.outputs.struct_size += 8;
  EXPECT(call.forward() == TT_INVALID, "outputs.struct_size");
  call.gradients.struct_size = 0;
  EXPECT(call.backward() == TT_INVALID, "gradients.struct_size");
  call.gradients.struct_size = sizeof call.gradients;
  call.cotangents.struct_size = 0;
  EXPECT(call.backward() == TT_INVALID, "cotangents.struct_size");
}

TEST(an_instruction_set_that_is_not_there_is_refused) {
  for (const int32_t isa : std::initializer_list<int32_t>{-1, 4, TT_ISA_AVX2, TT_ISA_AVX512}) {
    if (tt_isa_supported(isa)) continue;
    Call call(small(TT_GRU));
    call.problem.isa = isa;
    EXPECT(call.forward() == TT_UNSUPPORTED_ISA, std::to_string(isa));
    EXPECT(call.backward() == TT_UNSUPPORTED_ISA, std::to_string(isa));
    EXPECT(tt_peak_gflops(isa, 1, 0.001) == 0.0, std::to_string(isa));
  }
}

TEST(the_library_says_what_it_is) {
  EXPECT(tt_abi_version() == TT_ABI_VERSION, "the header's");
  EXPECT(tt_isa_supported(TT_ISA_PORTABLE) == 1, "portable is everywhere");
  for (int32_t status = -1; status < 6; ++status) EXPECT(tt_status_message(status) != nullptr, std::to_string(status));
  for (const int32_t isa : supported_isas()) EXPECT(tt_peak_gflops(isa, 2, 0.001) > 0.0, std::to_string(isa));
}

TEST(the_environment_is_obeyed) {
  unsetenv("THROUGHTIME_ISA");
  unsetenv("THROUGHTIME_THREADS");
  EXPECT(tt_isa() == supported_isas().back(), "the best there is");
  EXPECT(tt_threads() >= 1, "as many as cores");
  const Recurrence recurrence = small(TT_LSTM);
  Recurrence portable = recurrence;
  portable.problem.isa = TT_ISA_PORTABLE;
  setenv("THROUGHTIME_ISA", "portable", 1);
  setenv("THROUGHTIME_THREADS", "3", 1);
  EXPECT(tt_isa() == TT_ISA_PORTABLE, "THROUGHTIME_ISA");
  EXPECT(tt_threads() == 3, "THROUGHTIME_THREADS");
  EXPECT(results(recurrence) == results(portable), "THROUGHTIME_ISA");
  setenv("THROUGHTIME_ISA", "sse9", 1);
  EXPECT(tt_isa() == -TT_UNSUPPORTED_ISA, "a name of nothing");
  EXPECT(results(recurrence).forward_status == TT_UNSUPPORTED_ISA, "a name of nothing");
  EXPECT(results(portable).forward_status == TT_OK, "the call's own goes first");
  unsetenv("THROUGHTIME_ISA");
  unsetenv("THROUGHTIME_THREADS");
}

}  // namespace
