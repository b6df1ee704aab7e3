// The entry of kernels_*.cc: a function for each cell; minGRU's and minLSTM's reads how the candidate is activated. Included after forward.h and backward.h.
#pragma once

// Sequences are in order of length, so those without a valid step come last.
inline int with_steps(const Shard &shard) { return shard.events; }

inline void forward(const ForwardWork &work) {
  switch (work.problem->cell) {
    case TT_RNN_TANH: forward_shard<TT_RNN_TANH>(work); break;
    case TT_RNN_RELU: forward_shard<TT_RNN_RELU>(work); break;
    case TT_GRU: forward_shard<TT_GRU>(work); break;
    case TT_GRU_RESET_BEFORE: forward_shard<TT_GRU_RESET_BEFORE>(work); break;
    case TT_LSTM: forward_shard<TT_LSTM>(work); break;
    case TT_MIN_GRU:
    case TT_MIN_GRU_TANH:
    case TT_MIN_GRU_G: forward_shard<TT_MIN_GRU>(work); break;
    case TT_MIN_LSTM:
    case TT_MIN_LSTM_TANH:
    case TT_MIN_LSTM_G: forward_shard<TT_MIN_LSTM>(work); break;
    case TT_LRU: forward_shard<TT_LRU>(work); break;
  }
  if (work.first_chunk > 0) return;
  for (int i = with_steps(*work.shard); i < work.shard->sequences; ++i) forward_empty(work, work.shard->sequence[i]);
}

inline void backward(const BackwardWork &work) {
  switch (work.problem->cell) {
    case TT_RNN_TANH: backward_shard<TT_RNN_TANH>(work); break;
    case TT_RNN_RELU: backward_shard<TT_RNN_RELU>(work); break;
    case TT_GRU: backward_shard<TT_GRU>(work); break;
    case TT_GRU_RESET_BEFORE: backward_shard<TT_GRU_RESET_BEFORE>(work); break;
    case TT_LSTM: backward_shard<TT_LSTM>(work); break;
    case TT_MIN_GRU:
    case TT_MIN_GRU_TANH:
    case TT_MIN_GRU_G: backward_shard<TT_MIN_GRU>(work); break;
    case TT_MIN_LSTM:
    case TT_MIN_LSTM_TANH:
    case TT_MIN_LSTM_G: backward_shard<TT_MIN_LSTM>(work); break;
    case TT_LRU: backward_shard<TT_LRU>(work); break;
  }
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
