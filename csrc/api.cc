// The C ABI: arguments are checked, the work is planned, handed out, and put together.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#include "cpu.h"
#include "kernels.h"
#include "memory.h"
#include "packing.h"
#include "pool.h"
#include "recompute.h"
#include "schedule.h"
#include "taps.h"
#include "throughtime.h"

namespace tt {
namespace {

// Below so many floating-point operations a call is not worth waking a thread: 20 microseconds of one core.
constexpr double kOneThread = 2e6;
// What a gate costs by itself, in multiplications: most of the work where it sees no state and few features.
constexpr int64_t kGateOperations = 16;

const Kernels &kernels_of(int32_t isa) {
#if defined(TT_X86)
  if (isa == TT_ISA_AVX512) return kAvx512Kernels;
  if (isa == TT_ISA_AVX2) return kAvx2Kernels;
#endif
  (void)isa;
  return kPortableKernels;
}

// What a forward pass keeps: the plan, so that the backward pass follows the same one, and the activations.
struct Activations : Kept {
  Activations(const tt_problem &p, Schedule s) : problem(p), schedule(std::move(s)) {}
  size_t bytes() const override {
    size_t sum = schedule.bytes();
    for (const Recomputation &shard : shards) sum += shard.bytes();
    return sum;
  }

  const tt_problem problem;
  const Schedule schedule;
  std::vector<Recomputation> shards;
};

thread_local std::vector<Again> last_again;  // of the last backward pass of this thread

bool same_problem(const tt_problem &a, const tt_problem &b) {
  return a.cell == b.cell && a.batch == b.batch && a.steps == b.steps && a.features == b.features &&
         a.units == b.units && a.reverse == b.reverse && a.keep_bytes == b.keep_bytes;
}

bool valid(const tt_problem *problem, const tt_inputs *inputs) {
  if (problem == nullptr || problem->struct_size != sizeof *problem) return false;
  if (inputs == nullptr || inputs->struct_size != sizeof *inputs) return false;
  const tt_problem &p = *problem;
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  if (tt_gates(p.cell) == 0) return false;
  if (p.batch < 0 || p.steps < 0 || p.features < 1 || p.units < 1 || p.threads < 0 || p.keep_bytes < 0) return false;
  if (p.batch > kMost || p.steps > kMost || p.features > kMost / 64 || p.units > kMost / 64) return false;
  if (p.steps > 0 && p.batch > kMost / p.steps) return false;
  if (p.masked_output != TT_MASKED_REPEATS && p.masked_output != TT_MASKED_ZERO) return false;
  if ((p.reverse & ~1) != 0 || (p.leading_initial & ~1) != 0) return false;
  const bool recurs = layout_of(p.cell).h_slots > 0 || p.cell == TT_LRU;
  if (inputs->kernel == nullptr || (recurs && inputs->recurrent_kernel == nullptr)) return false;
  return inputs->x != nullptr || p.batch == 0 || p.steps == 0;
}

int threads_for(const tt_problem &problem, int64_t tokens) {
  const Layout layout = layout_of(problem.cell);
  const int64_t read = problem.features + (layout.h_slots > 0 ? problem.units : kGateOperations);
  const double work = 2.0 * static_cast<double>(tokens) * static_cast<double>(problem.units) *
                      static_cast<double>(read) * layout.x_slots;
  return work < kOneThread ? 1 : resolve_threads(problem.threads);
}

Schedule planned(const tt_problem &problem, const tt_inputs &inputs) {
  const ValidSteps valid(problem, inputs.mask);
  return Schedule(problem, valid, threads_for(problem, valid.tokens));
}

// The workers wake while the call is prepared. Steps that are masked are not known yet.
void rouse(const tt_problem &problem) { tt::rouse(threads_for(problem, problem.batch * problem.steps)); }

// Bytes that activations may hold; 0 where all of them fit.
size_t budget_of(const tt_problem &problem, const Schedule &schedule) {
  const auto budget = static_cast<size_t>(problem.keep_bytes > 0 ? problem.keep_bytes : keep_at_most(0));
  const size_t all = kept_per_token(problem) * static_cast<size_t>(schedule.tokens()) * sizeof(float);
  return all > budget ? budget : 0;
}

// Runs the shards; activations go to `kept`, where it is given.
void forward(const tt_problem &problem, const tt_inputs &inputs, const tt_forward_outputs &outputs,
             const Schedule &schedule, int32_t isa, std::vector<Recomputation> *kept) {
  const int threads = threads_for(problem, schedule.tokens());
  Block weights;
  const Packed packed = Packing(problem).pack(inputs, false, false, threads, weights);
  const int shards = schedule.shards();
  const size_t budget = kept != nullptr ? budget_of(problem, schedule) : 0;
  std::vector<Block> scratch;
  std::vector<Shard> views;
  for (int number = 0; number < shards; ++number) {
    views.push_back(schedule.shard(number));
    scratch.push_back(Block::of_floats(forward_scratch(problem, views.back())));
    if (kept != nullptr) kept->emplace_back(problem, views.back(), share_of(budget, views.back(), schedule.tokens()));
  }
  const Kernels &kernels = kernels_of(isa);
  parallel_for(shards, threads, [&](int number) {
    const int32_t chunks = views[number].chunks;
    const ForwardWork work{&problem, &inputs, &outputs, &views[number], &packed, scratch[number].floats(),
                           0, chunks, chunks, nullptr, nullptr, nullptr};
    if (kept != nullptr) {
      (*kept)[number].forward(kernels, work);
    } else {
      kernels.forward(work);
    }
  });
}

void backward(const tt_problem &problem, const tt_inputs &inputs, const tt_cotangents &cotangents,
              const tt_gradients &gradients, Activations &activations, int32_t isa) {
  const Schedule &schedule = activations.schedule;
  const int threads = threads_for(problem, schedule.tokens()), shards = schedule.shards();
  const Packing packing(problem);
  Block weights;
  const Packed packed = packing.pack(inputs, true, gradients.dx != nullptr, threads, weights);
  Block forward_weights;  // where something is computed again
  Packed forward_packed{};
  for (const Recomputation &one : activations.shards) {
    if (one.keeps_all() || forward_packed.kernel != nullptr) continue;
    forward_packed = packing.pack(inputs, false, false, threads, forward_weights);
  }
  std::vector<Block> scratch, forward_blocks, sum_blocks;
  std::vector<Shard> views;
  std::vector<Sums> sums;
  std::vector<std::vector<Again>> again(static_cast<size_t>(shards));
  for (int number = 0; number < shards; ++number) {
    views.push_back(schedule.shard(number));
    scratch.push_back(Block::of_floats(backward_scratch(problem, views.back())));
    forward_blocks.push_back(activations.shards[number].keeps_all()
                                 ? Block()
                                 : Block::of_floats(forward_scratch(problem, views.back())));
    sum_blocks.push_back(Block::of_floats(packing.sum_floats()));
    sums.push_back(packing.sums(sum_blocks.back().floats(), gradients));
  }
  tt_forward_outputs nothing{};
  nothing.struct_size = sizeof nothing;
  const Kernels &kernels = kernels_of(isa);
  parallel_for(shards, threads, [&](int number) {
    std::memset(sum_blocks[number].floats(), 0, packing.sum_floats() * sizeof(float));
    const BackwardWork work{&problem, &inputs, &cotangents, &gradients, &views[number], &packed,
                            scratch[number].floats(), 0, 0, nullptr, sums[number]};
    const ForwardWork forward{&problem, &inputs, &nothing, &views[number], &forward_packed, forward_blocks[number].floats(),
                              0, 0, 0, nullptr, nullptr, nullptr};
    activations.shards[number].backward(kernels, work, forward, number, &again[number]);
  });
  last_again.clear();
  for (const std::vector<Again> &one : again) last_again.insert(last_again.end(), one.begin(), one.end());
  packing.unpack(sums, gradients, threads);
}

}  // namespace
}  // namespace tt

extern "C" {

int32_t tt_forward(const tt_problem *problem, const tt_inputs *inputs, const tt_forward_outputs *outputs) {
  using namespace tt;
  if (!valid(problem, inputs) || outputs == nullptr || outputs->struct_size != sizeof *outputs) return TT_INVALID;
  const int32_t isa = resolve_isa(problem->isa);
  if (isa == 0) return TT_UNSUPPORTED_ISA;
  if (outputs->ticket != nullptr) *outputs->ticket = 0;
  try {
    rouse(*problem);
    Schedule schedule = planned(*problem, *inputs);
    if (outputs->ticket == nullptr) {
      forward(*problem, *inputs, *outputs, schedule, isa, nullptr);
      return TT_OK;
    }
    auto activations = std::make_unique<Activations>(*problem, std::move(schedule));
    forward(*problem, *inputs, *outputs, activations->schedule, isa, &activations->shards);
    *outputs->ticket = keep(std::move(activations));
    return TT_OK;
  } catch (const std::bad_alloc &) {
    return TT_OUT_OF_MEMORY;
  }
}

int32_t tt_backward(const tt_problem *problem, const tt_inputs *inputs, const tt_cotangents *cotangents,
                    const tt_gradients *gradients) {
  using namespace tt;
  if (!valid(problem, inputs)) return TT_INVALID;
  if (cotangents == nullptr || cotangents->struct_size != sizeof *cotangents) return TT_INVALID;
  if (gradients == nullptr || gradients->struct_size != sizeof *gradients) return TT_INVALID;
  const int32_t isa = resolve_isa(problem->isa);
  if (isa == 0) return TT_UNSUPPORTED_ISA;
  try {
    rouse(*problem);
    std::unique_ptr<Kept> kept = take(cotangents->ticket);
    auto *activations = static_cast<Activations *>(kept.get());
    if (activations == nullptr || !same_problem(activations->problem, *problem)) {
      kept = std::make_unique<Activations>(*problem, planned(*problem, *inputs));
      activations = static_cast<Activations *>(kept.get());
      tt_forward_outputs nothing{};
      nothing.struct_size = sizeof nothing;
      forward(*problem, *inputs, nothing, activations->schedule, isa, &activations->shards);
    }
    if (!is_open(gradients->tap)) {
      backward(*problem, *inputs, *cotangents, *gradients, *activations, isa);
      return TT_OK;
    }
    tt_gradients tapped = *gradients;
    std::vector<float> norms(static_cast<size_t>(problem->batch * problem->steps));
    if (tapped.norms == nullptr) tapped.norms = norms.data();
    backward(*problem, *inputs, *cotangents, tapped, *activations, isa);
    if (gradients->norms != nullptr) std::copy_n(gradients->norms, norms.size(), norms.data());
    leave_at_tap(*problem, inputs->mask, std::move(norms), gradients->tap);
    return TT_OK;
  } catch (const std::bad_alloc &) {
    return TT_OUT_OF_MEMORY;
  }
}

int64_t tt_recomputed(int32_t *triples, int64_t most) {
  const std::vector<tt::Again> &again = tt::last_again;
  const auto count = static_cast<int64_t>(again.size());
  for (int64_t at = 0; at < std::min(most, count); ++at) {
    const int32_t one[3] = {again[at].shard, again[at].begin_step, again[at].end_step};
    std::memcpy(triples + 3 * at, one, sizeof one);
  }
  return count;
}

void tt_release(uint64_t ticket) { tt::take(ticket); }

uint64_t tt_keep_at_most(uint64_t bytes) { return tt::keep_at_most(bytes); }

void tt_memory(uint64_t *kept, uint64_t *idle) {
  if (kept != nullptr) *kept = tt::kept_bytes();
  if (idle != nullptr) *idle = tt::idle_bytes();
}

void tt_trim(void) { tt::trim_idle(); }

int32_t tt_gates(int32_t cell) {
  return cell < TT_RNN_TANH || cell > TT_LRU ? 0 : tt::layout_of(cell).x_slots;
}

const char *tt_status_message(int32_t status) {
  switch (status) {
    case TT_OK: return "done";
    case TT_INVALID: return "an argument is outside of what the library takes";
    case TT_OUT_OF_MEMORY: return "there is not enough memory for this batch";
    case TT_UNSUPPORTED_ISA: return "this processor does not have the instruction set asked for";
    default: return "unknown status";
  }
}

int32_t tt_abi_version(void) { return TT_ABI_VERSION; }

int32_t tt_isa(void) {
  const int32_t isa = tt::resolve_isa(TT_ISA_AUTO);
  return isa != 0 ? isa : -TT_UNSUPPORTED_ISA;
}

int32_t tt_isa_supported(int32_t isa) { return tt::isa_supported(isa) ? 1 : 0; }

int32_t tt_threads(void) { return tt::resolve_threads(0); }

double tt_peak_gflops(int32_t isa, int32_t threads, double seconds) {
  isa = tt::resolve_isa(isa);
  if (isa == 0) return 0.0;
  threads = tt::resolve_threads(threads);
  const tt::Kernels &kernels = tt::kernels_of(isa);
  std::vector<double> rate(static_cast<size_t>(threads), 0.0);
  tt::parallel_for(threads, threads, [&](int thread) {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point begin = Clock::now();
    double operations = 0.0, passed = 0.0;
    do {
      operations += kernels.multiply_adds(100000);
      passed = std::chrono::duration<double>(Clock::now() - begin).count();
    } while (passed < seconds);
    rate[thread] = operations / passed * 1e-9;
  });
  double sum = 0.0;
  for (const double one : rate) sum += one;
  return sum;
}

}  // extern "C"
