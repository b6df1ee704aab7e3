// How a shard's arrays lie, and rows into and out of them. Included after cells.h and gemm.h by kernels_*.cc alone.
#pragma once

// A cell's functions with its layout as constants.
template <int32_t CELL, class FUNCTIONS>
struct LaidOut : FUNCTIONS {
  static constexpr Layout kLayout = layout_of(CELL);
  static constexpr int kSlots = kLayout.slots, kXs = kLayout.x_slots, kXTile = kLayout.x_tile;
  static constexpr int kH = kLayout.h_slot, kHs = kLayout.h_slots, kHTile = kLayout.h_tile;
};

template <int32_t CELL>
struct Plan;
template <>
struct Plan<TT_LSTM> : LaidOut<TT_LSTM, Lstm> {};
template <>
struct Plan<TT_GRU> : LaidOut<TT_GRU, Gru> {};
template <>
struct Plan<TT_GRU_RESET_BEFORE> : LaidOut<TT_GRU_RESET_BEFORE, GruResetBefore> {};
template <>
struct Plan<TT_RNN_TANH> : LaidOut<TT_RNN_TANH, SimpleRnn<false>> {};
template <>
struct Plan<TT_RNN_RELU> : LaidOut<TT_RNN_RELU, SimpleRnn<true>> {};
template <>
struct Plan<TT_MIN_GRU> : LaidOut<TT_MIN_GRU, MinGru> {};
template <>
struct Plan<TT_MIN_LSTM> : LaidOut<TT_MIN_LSTM, MinLstm> {};
template <>
struct Plan<TT_LRU> : LaidOut<TT_LRU, Lru> {};

// Of an LRU the whole state is the output, real parts before imaginary ones.
template <int32_t CELL>
constexpr int output_width(int units) {
  return CELL == TT_LRU ? 2 * units : units;
}

template <int TILE>
struct Width {
  static constexpr int kTile = TILE;
};

// Calls group(width, number, offset of its first column, floats between its parts of 16 columns) for each column group,
// and done(first panel, panels) once all groups of those panels were called.
template <int SLOTS, int TILE, class Group, class Done>
TT_INLINE void each_group(int panels, size_t panel_stride, Group group, Done done) {
  int number = 0;
  if constexpr (SLOTS > 1) {
    for (int panel = 0; panel < panels; ++panel) {
      for (int slot = 0; slot < SLOTS; slot += TILE) group(Width<TILE>{}, number++, panel * panel_stride + slot * 16, 16);
      done(panel, 1);
    }
  } else {
    for (int panel = 0; panel < panels; panel += TILE) {
      if (panel + TILE <= panels) {
        group(Width<TILE>{}, number++, panel * panel_stride, panel_stride);
        done(panel, TILE);
      } else {
        group(Width<1>{}, number++, panel * panel_stride, panel_stride);
        done(panel, 1);
      }
    }
  }
}
template <int SLOTS, int TILE, class Group>
TT_INLINE void each_group(int panels, size_t panel_stride, Group group) {
  each_group<SLOTS, TILE>(panels, panel_stride, group, [](int, int) {});
}

// Rows of `width` floats to and from panels [panel][stride floats], 16 floats of each.
TT_INLINE void to_panels(const float *row, int width, float *panels, size_t stride) {
  for (; width >= 16; width -= 16, row += 16, panels += stride) __builtin_memcpy(panels, row, 64);
  if (width > 0) {
    for (int j = 0; j < 16; ++j) panels[j] = j < width ? row[j] : 0.0f;
  }
}
TT_INLINE void from_panels(const float *panels, size_t stride, int width, float *row) {
  for (; width >= 16; width -= 16, row += 16, panels += stride) __builtin_memcpy(row, panels, 64);
  for (int j = 0; j < width; ++j) row[j] = panels[j];
}
TT_INLINE void add_to_panels(const float *row, int width, float *panels, size_t stride) {
  for (; width >= 16; width -= 16, row += 16, panels += stride) {
    for (int j = 0; j < 16; j += TT_LANES) store(panels + j, load(panels + j) + load(row + j));
  }
  for (int j = 0; j < width; ++j) panels[j] += row[j];
}
TT_INLINE void add(const float *from, int64_t width, float *to) {
  for (int64_t j = 0; j < width; ++j) to[j] += from[j];
}
TT_INLINE void copy_or_zero(const float *from, int64_t width, float *to) {
  if (from != nullptr) {
    __builtin_memcpy(to, from, static_cast<size_t>(width) * sizeof(float));
  } else {
    __builtin_memset(to, 0, static_cast<size_t>(width) * sizeof(float));
  }
}
// Rows [begin, end) of a matrix become `row`, or zeros where it is NULL.
TT_INLINE void fill(float *matrix, int64_t begin, int64_t end, const float *row, int64_t width) {
  if (begin >= end) return;
  float *to = matrix + begin * width, *const last = matrix + end * width;
  if (row == nullptr) {
    __builtin_memset(to, 0, static_cast<size_t>(last - to) * sizeof(float));
  } else if (width % TT_LANES == 0) {  // without a call for each row, which costs as much as writing it
    for (; to < last; to += width) {
      for (int64_t j = 0; j < width; j += TT_LANES) store(to + j, load(row + j));
    }
  } else {
    for (; to < last; to += width) __builtin_memcpy(to, row, static_cast<size_t>(width) * sizeof(float));
  }
}
// Rows [begin, end) of outputs become those of a state, h and, where W is twice H, c.
TT_INLINE void fill_outputs(float *y, int64_t begin, int64_t end, const float *h, const float *c, int64_t H, int64_t W) {
  if (W == H) return fill(y, begin, end, h, H);
  for (int64_t k = begin; k < end; ++k) {
    copy_or_zero(h, H, y + k * W);
    copy_or_zero(c, H, y + k * W + H);
  }
}
TT_INLINE const float *row_of(const float *matrix, int64_t row, int64_t width) {
  return matrix != nullptr ? matrix + row * width : nullptr;
}

struct Sizes {
  explicit Sizes(const tt_problem &problem, const tt_inputs &inputs)
      : T(problem.steps),
        F(static_cast<int>(problem.features)),
        H(static_cast<int>(problem.units)),
        feature_panels(static_cast<int>(panels(problem.features))),
        unit_panels(static_cast<int>(panels(problem.units))),
        reverse(problem.reverse != 0),
        zero_masked(problem.masked_output == TT_MASKED_ZERO),
        leading_initial(problem.leading_initial != 0 && problem.masked_output != TT_MASKED_ZERO),
        x(inputs.x),
        x_step(inputs.x_step_stride != 0 ? inputs.x_step_stride : problem.features),
        x_batch(inputs.x_batch_stride != 0 ? inputs.x_batch_stride : problem.steps * problem.features) {}

  int64_t place(int64_t k) const { return reverse ? T - 1 - k : k; }  // of step k in x and dx

  // The chunk's inputs, as panels.
  void gather(const Shard &shard, const Chunk &chunk, float *to) const {
    const size_t stride = static_cast<size_t>(chunk.tokens) * 16;
    const Token *token = shard.token + chunk.first_token;
    for (int i = 0; i < chunk.tokens; ++i) {
      to_panels(x + token[i].sequence * x_batch + place(token[i].step) * x_step, F, to + i * 16, stride);
    }
  }

  const int64_t T;
  const int F, H, feature_panels, unit_panels;
  const bool reverse, zero_masked, leading_initial;
  const float *const x;
  const int64_t x_step, x_batch;
};

// What is kept of a chunk: [panel][token][slots * 16] gates, and [panel][token][16] states before each step. `kept` is
// where that of chunk `first` lies.
struct KeptChunk {
  KeptChunk(const tt_problem &problem, const Chunk &chunk, const Chunk &first, float *kept)
      : gates(kept + kept_per_token(problem) * static_cast<size_t>(chunk.first_token - first.first_token)),
        h_before(gates + panels(problem.units) * 16 * static_cast<size_t>(layout_of(problem.cell).slots) *
                             static_cast<size_t>(chunk.tokens)),
        c_before(h_before + panels(problem.units) * 16 * static_cast<size_t>(chunk.tokens)) {}

  float *const gates, *const h_before, *const c_before;
};

// The first event at or after a step.
TT_INLINE const Event *event_at(const Event *events, int count, int step) {
  int low = 0, high = count;
  while (low < high) {
    const int middle = low + (high - low) / 2;
    if (events[middle].step < step) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return events + low;
}
