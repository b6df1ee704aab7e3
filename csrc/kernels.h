// What the schedule, the packed weights and the kernels of each instruction set have in common. Included by files that
// are compiled for one instruction set, so it holds plain data only: a template of the standard library used there could
// be merged by the linker with the portable one.
#pragma once

#include <cstddef>
#include <cstdint>

#include "throughtime.h"

namespace tt {

// Units, features and gates are laid out in panels of 16 columns, whatever the instruction set.
constexpr int kLane = 16;

// A valid step of a sequence.
struct Token {
  int32_t sequence;
  int32_t step;   // k, in the order of processing
  int32_t until;  // the next valid step of the sequence, or T: the masked steps in between repeat this one's output
};

// A sequence begins or ends in a row of the shard at a step of the shard.
struct Event {
  int32_t step;
  int32_t row;
  int32_t sequence;
};

// Consecutive steps that are worked on while they lie in the cache.
struct Chunk {
  int32_t first_step, end_step;
  int32_t first_token, tokens;
};

// A part of the batch that one thread works on: `rows` sequences at a time, each row taking the next sequence where one
// ends. Tokens are numbered step by step; the rows of a step that still hold a sequence are its first `live` ones.
struct Shard {
  int32_t rows, steps, tokens, chunks, sequences, most_tokens;  // most_tokens: of a chunk
  const int32_t *live;         // (steps)
  const int32_t *first_token;  // (steps)
  const Token *token;          // (tokens)
  const Chunk *chunk;          // (chunks)
  const Event *begins, *ends;  // each sequence with a valid step once, ordered by step
  int32_t events;
  const int32_t *sequence;     // all that belong to this shard, also those without a valid step
};

// How one cell's gates lie in memory. The gates of a panel of 16 units stand side by side, token by token:
// [panel][token][slot][16]. Slots that take part of x times kernel, and of h times recurrent_kernel, are contiguous.
struct Layout {
  int slots;              // a panel and token
  int x_slot, x_slots;    // the first one, and how many, that x takes part in
  int h_slot, h_slots;    // likewise for h
  int x_tile, h_tile;     // columns of 16 in a column group of the packed weights: of one panel, or of two where a panel
                          // has a single slot
};

constexpr Layout layout_of(int32_t cell) {
  switch (cell) {
    case TT_LSTM: return {4, 0, 4, 0, 4, 2, 2};              // i, f, g, o
    case TT_GRU: return {4, 0, 3, 1, 3, 3, 3};               // n, z, r, and h's own part of n
    case TT_GRU_RESET_BEFORE: return {4, 0, 3, 1, 2, 3, 2};  // n, z, r, and r * h
    case TT_MIN_GRU:
    case TT_MIN_GRU_TANH:
    case TT_MIN_GRU_G: return {2, 0, 2, 0, 0, 2, 1};         // z, n
    case TT_MIN_LSTM:
    case TT_MIN_LSTM_TANH:
    case TT_MIN_LSTM_G: return {4, 0, 3, 0, 0, 3, 1};        // f, i, n, and i's share of f + i
    case TT_LRU: return {2, 0, 2, 0, 0, 2, 1};               // real and imaginary part of what is added
    default: return {1, 0, 1, 0, 1, 2, 2};
  }
}

inline bool has_cell_state(int32_t cell) { return cell == TT_LSTM || cell == TT_LRU; }

// Weights as the matrix products read them: [group][row][tile * 16], the transposed ones likewise with gates for rows.
struct Packed {
  const float *kernel, *recurrent;                        // rows: features; units
  const float *kernel_transposed, *recurrent_transposed;  // rows: gates; NULL in a forward pass
  const float *bias;                                      // [panel][slot][16]
  // GRU(reset_after=False) alone: the part of recurrent_kernel that is multiplied by r * h
  const float *candidate, *candidate_transposed;
  const float *factor;  // LRU alone: [panel][real, imaginary][16]
};

// Sums of weight gradients of one shard, packed as the weights.
struct Sums {
  float *kernel, *recurrent, *candidate, *bias, *factor;
};

struct ForwardWork {
  const tt_problem *problem;
  const tt_inputs *inputs;
  const tt_forward_outputs *outputs;
  const Shard *shard;
  const Packed *packed;
  float *scratch;  // forward_scratch floats
  // Chunks [first_chunk, end_chunk); from kept_chunk on activations are kept, those of kept_chunk at `kept`.
  int32_t first_chunk, end_chunk, kept_chunk;
  float *kept;
  const float *from_state;  // state_floats, of the rows before first_chunk; NULL at the shard's beginning
  float *to_state;          // written with those after end_chunk; NULL: not wanted
};

struct BackwardWork {
  const tt_problem *problem;
  const tt_inputs *inputs;
  const tt_cotangents *cotangents;
  const tt_gradients *gradients;
  const Shard *shard;
  const Packed *packed;
  float *scratch;  // backward_scratch floats; what it holds goes from one run of chunks to the one before it
  int32_t first_chunk, end_chunk;
  float *kept;     // of the forward pass, from first_chunk on; overwritten
  Sums sums;       // written; each NULL where it is not wanted
};

inline size_t panels(int64_t columns) { return static_cast<size_t>((columns + kLane - 1) / kLane); }

// Floats kept for one token: gates, the state before it, and the cell state before it.
inline size_t kept_per_token(const tt_problem &problem) {
  return panels(problem.units) * kLane * (layout_of(problem.cell).slots + 1 + has_cell_state(problem.cell));
}
// Floats of the states of all rows between two steps.
inline size_t state_floats(const tt_problem &problem, const Shard &shard) {
  return panels(problem.units) * kLane * static_cast<size_t>(shard.rows) * (1 + has_cell_state(problem.cell));
}
inline size_t forward_scratch(const tt_problem &problem, const Shard &shard) {
  const size_t chunk = static_cast<size_t>(shard.most_tokens);
  return kLane * ((panels(problem.features) + panels(problem.units) * layout_of(problem.cell).slots) * chunk +
                  panels(problem.units) * 3 * static_cast<size_t>(shard.rows));
}
inline size_t backward_scratch(const tt_problem &problem, const Shard &shard) {
  return kLane * (panels(problem.features) * 2 * static_cast<size_t>(shard.most_tokens) +
                  panels(problem.units) * 3 * static_cast<size_t>(shard.rows));
}

// The kernels of one instruction set.
struct Kernels {
  void (*forward)(const ForwardWork &work);
  void (*backward)(const BackwardWork &work);
  double (*multiply_adds)(int64_t rounds);  // does so many and returns how many floating-point operations it did
};

extern const Kernels kPortableKernels;
#if defined(TT_X86)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif

}  // namespace tt
