// The entry of kernels_*.cc: a function for each cell; those of minGRU and minLSTM read how the candidate is activated.
// Included after forward.h and backward.h.
#pragma once

// Sequences are in order of length, so those without a valid step come last.
inline int with_steps(const Shard &shard) { return shard.events; }

template <int32_t CELL>
struct Chosen {
  static constexpr int32_t kCell = CELL;
};

// Calls run with the cell as a constant.
template <class Run>
TT_INLINE void choose(int32_t cell, Run run) {
  switch (cell) {
    case TT_RNN_TANH: return run(Chosen<TT_RNN_TANH>{});
    case TT_RNN_RELU: return run(Chosen<TT_RNN_RELU>{});
    case TT_GRU: return run(Chosen<TT_GRU>{});
    case TT_GRU_RESET_BEFORE: return run(Chosen<TT_GRU_RESET_BEFORE>{});
    case TT_LSTM: return run(Chosen<TT_LSTM>{});
    case TT_MIN_GRU:
    case TT_MIN_GRU_TANH:
    case TT_MIN_GRU_G: return run(Chosen<TT_MIN_GRU>{});
    case TT_MIN_LSTM:
    case TT_MIN_LSTM_TANH:
    case TT_MIN_LSTM_G: return run(Chosen<TT_MIN_LSTM>{});
    case TT_LRU: return run(Chosen<TT_LRU>{});
  }
}

inline void forward(const ForwardWork &work) {
  choose(work.problem->cell, [&](auto cell) { forward_shard<cell.kCell>(work); });
  if (work.first_chunk > 0) return;
  for (int i = with_steps(*work.shard); i < work.shard->sequences; ++i) forward_empty(work, work.shard->sequence[i]);
}

inline void backward(const BackwardWork &work) {
  choose(work.problem->cell, [&](auto cell) { backward_shard<cell.kCell>(work); });
  if (work.first_chunk > 0) return;
  for (int i = with_steps(*work.shard); i < work.shard->sequences; ++i) backward_empty(work, work.shard->sequence[i]);
}

// Enough chains of multiply-adds to keep the units busy, from registers alone.
inline double multiply_adds(int64_t rounds) {
  V sum[12];
  for (int i = 0; i < 12; ++i) sum[i] = splat(static_cast<float>(i));
  const V a = splat(0.999f), b = splat(0.001f);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) sum[i] = fma(sum[i], a, b);
  }
  V total = V{};
  for (int i = 0; i < 12; ++i) total += sum[i];
  volatile float kept = total[0];  // so that the loop is not taken out
  (void)kept;
  return static_cast<double>(rounds) * 12 * 2 * TT_LANES;
}
