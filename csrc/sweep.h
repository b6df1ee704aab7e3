// A shard of the batch from its first step to its last, and back. Included after cells.h and gemm.h by kernels_*.cc alone.
#pragma once

// Each cell's layout again, as constants; layout_of is what the packing reads.
template <int32_t CELL>
struct Plan;
template <>
struct Plan<TT_LSTM> : Lstm {
  static constexpr int kSlots = 4, kX = 0, kXs = 4, kXTile = 2, kH = 0, kHs = 4, kHTile = 2;
};
template <>
struct Plan<TT_GRU> : Gru {
  static constexpr int kSlots = 4, kX = 0, kXs = 3, kXTile = 3, kH = 1, kHs = 3, kHTile = 3;
};
template <>
struct Plan<TT_GRU_RESET_BEFORE> : GruResetBefore {
  static constexpr int kSlots = 4, kX = 0, kXs = 3, kXTile = 3, kH = 1, kHs = 2, kHTile = 2;
};
template <>
struct Plan<TT_RNN_TANH> : SimpleRnn<false> {
  static constexpr int kSlots = 1, kX = 0, kXs = 1, kXTile = 2, kH = 0, kHs = 1, kHTile = 2;
};
template <>
struct Plan<TT_RNN_RELU> : SimpleRnn<true> {
  static constexpr int kSlots = 1, kX = 0, kXs = 1, kXTile = 2, kH = 0, kHs = 1, kHTile = 2;
};

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

// What is kept of a chunk: [panel][token][slots * 16] gates, and [panel][token][16] states before each step.
struct KeptChunk {
  KeptChunk(const tt_problem &problem, const Chunk &chunk, float *kept)
      : gates(kept + kept_per_token(problem) * static_cast<size_t>(chunk.first_token)),
        h_before(gates + panels(problem.units) * 16 * static_cast<size_t>(layout_of(problem.cell).slots) *
                             static_cast<size_t>(chunk.tokens)),
        c_before(h_before + panels(problem.units) * 16 * static_cast<size_t>(chunk.tokens)) {}

  float *const gates, *const h_before, *const c_before;
};

// Forward ------------------------------------------------------------------------------------------------------------

// The outputs of steps [begin, end) of y, which are masked: `output` again, or zeros where it is NULL.
TT_INLINE void fill(float *y, int64_t begin, int64_t end, const float *output, int64_t H) {
  for (int64_t k = begin; k < end; ++k) copy_or_zero(output, H, y + k * H);
}

template <int32_t CELL>
void forward_shard(const ForwardWork &work) {
  using Cell = Plan<CELL>;
  constexpr int kWide = Cell::kSlots * 16;
  const FlushDenormals flush;
  const Shard &shard = *work.shard;
  const Packed &packed = *work.packed;
  const tt_forward_outputs &out = *work.outputs;
  const Sizes size(*work.problem, *work.inputs);
  const int H = size.H, P = size.unit_panels;
  const size_t state = static_cast<size_t>(shard.rows) * 16;  // floats of a panel of states
  float *h = work.scratch, *h_next = h + P * state, *c = h_next + P * state, *x = c + P * state;
  float *scratch_gates = x + static_cast<size_t>(size.feature_panels) * 16 * shard.most_tokens;
  // Columns beyond H are computed with weights of zero, and must not start as NaN.
  __builtin_memset(h, 0, 3 * P * state * sizeof(float));
  const Event *begin = shard.begins, *end = shard.ends, *const last_end = end + shard.events;
  const Event *const last_begin = begin + shard.events;

  for (int number = 0; number < shard.chunks; ++number) {
    const Chunk &chunk = shard.chunk[number];
    const KeptChunk kept(*work.problem, chunk, work.kept != nullptr ? work.kept : scratch_gates);
    float *const gates = work.kept != nullptr ? kept.gates : scratch_gates;
    const size_t gate_panel = static_cast<size_t>(chunk.tokens) * kWide;
    const size_t token_panel = static_cast<size_t>(chunk.tokens) * 16;
    size.gather(shard, chunk, x);
    each_group<Cell::kXs, Cell::kXTile>(P, gate_panel, [&](auto width, int group, size_t offset, size_t part) {
      constexpr int kColumns = Cell::kXTile * 16;
      product<width.kTile, 16, 16, kWide, Start::kBias>(
          chunk.tokens, x, token_panel, size.F / 16, size.F % 16,
          packed.kernel + static_cast<size_t>(group) * size.F * kColumns, kColumns, gates + offset, part,
          packed.bias + (Cell::kXs > 1 ? offset / gate_panel * kWide + offset % gate_panel : offset / gate_panel * 16));
    });
    if constexpr (CELL == TT_GRU) {  // what h's part of n begins with
      for (int panel = 0; panel < P; ++panel) {
        for (int i = 0; i < chunk.tokens; ++i) {
          __builtin_memcpy(gates + panel * gate_panel + i * 64 + 48, packed.bias + panel * 64 + 48, 64);
        }
      }
    }

    for (int step = chunk.first_step; step < chunk.end_step; ++step) {
      for (; begin != last_begin && begin->step == step; ++begin) {
        const int64_t b = begin->sequence;
        const float *h0 = row_of(work.inputs->h0, b, H), *c0 = row_of(work.inputs->c0, b, H);
        for (int panel = 0; panel < P; ++panel) {
          float *to = h + panel * state + begin->row * 16, *to_c = c + panel * state + begin->row * 16;
          for (int j = 0; j < 16; ++j) {
            const bool real = panel * 16 + j < H;
            to[j] = real && h0 != nullptr ? h0[panel * 16 + j] : 0.0f;
            if (Cell::kHasCell) to_c[j] = real && c0 != nullptr ? c0[panel * 16 + j] : 0.0f;
          }
        }
        if (out.y != nullptr) {
          const int64_t first = shard.token[shard.first_token[step] + begin->row].step;
          fill(out.y + b * size.T * H, 0, first, size.leading_initial ? h0 : nullptr, H);
        }
      }

      const int live = shard.live[step], token = shard.first_token[step] - chunk.first_token;
      float *const step_gates = gates + static_cast<size_t>(token) * kWide;
      if (work.kept != nullptr) {
        for (int panel = 0; panel < P; ++panel) {
          __builtin_memcpy(kept.h_before + panel * token_panel + token * 16, h + panel * state,
                           static_cast<size_t>(live) * 64);
        }
      }
      const auto finish = [&](int first, int count) {
        for (int panel = first; panel < first + count; ++panel) {
          Cell::forward(live, step_gates + panel * gate_panel, h + panel * state, c + panel * state,
                        h_next + panel * state,
                        work.kept != nullptr ? kept.c_before + panel * token_panel + token * 16 : nullptr);
        }
      };
      const auto recur = [&](auto width, int group, size_t offset, size_t part) {
        constexpr int kColumns = Cell::kHTile * 16;
        product<width.kTile, 16, 16, kWide, Start::kAdd>(
            live, h, state, H / 16, H % 16, packed.recurrent + static_cast<size_t>(group) * H * kColumns, kColumns,
            step_gates + Cell::kH * 16 + offset, part, nullptr);
      };
      if constexpr (CELL == TT_GRU_RESET_BEFORE) {
        each_group<Cell::kHs, Cell::kHTile>(P, gate_panel, recur, [&](int panel, int) {
          Cell::reset(live, step_gates + panel * gate_panel, h + panel * state);
        });
        each_group<1, 2>(
            P, gate_panel,
            [&](auto width, int group, size_t offset, size_t part) {
              product<width.kTile, kWide, 16, kWide, Start::kAdd>(
                  live, step_gates + 48, gate_panel, H / 16, H % 16,
                  packed.candidate + static_cast<size_t>(group) * H * 32, 32, step_gates + offset, part, nullptr);
            },
            finish);
      } else {
        each_group<Cell::kHs, Cell::kHTile>(P, gate_panel, recur, finish);
      }
      float *const swapped = h;
      h = h_next;
      h_next = swapped;

      if (out.y != nullptr) {
        for (int row = 0; row < live; ++row) {
          const Token &at = shard.token[shard.first_token[step] + row];
          float *y = out.y + at.sequence * size.T * H;
          from_panels(h + row * 16, state, H, y + at.step * int64_t{H});
          if (at.until > at.step + 1) {
            fill(y, at.step + 1, at.until, size.zero_masked ? nullptr : y + at.step * int64_t{H}, H);
          }
        }
      }
      for (; end != last_end && end->step == step; ++end) {
        const int64_t b = end->sequence;
        const float *from = h + end->row * 16;
        if (out.hn != nullptr) from_panels(from, state, H, out.hn + b * H);
        if (Cell::kHasCell && out.cn != nullptr) from_panels(c + end->row * 16, state, H, out.cn + b * H);
        if (out.last != nullptr) {
          const bool masked = shard.token[shard.first_token[step] + end->row].step != size.T - 1;
          if (size.zero_masked && masked) {
            copy_or_zero(nullptr, H, out.last + b * H);
          } else {
            from_panels(from, state, H, out.last + b * H);
          }
        }
      }
    }
  }
}

// Sequences without a valid step.
TT_INLINE void forward_empty(const ForwardWork &work, int64_t b) {
  const tt_forward_outputs &out = *work.outputs;
  const Sizes size(*work.problem, *work.inputs);
  const float *h0 = row_of(work.inputs->h0, b, size.H), *output = size.leading_initial ? h0 : nullptr;
  if (out.hn != nullptr) copy_or_zero(h0, size.H, out.hn + b * size.H);
  if (out.cn != nullptr) copy_or_zero(row_of(work.inputs->c0, b, size.H), size.H, out.cn + b * size.H);
  if (out.last != nullptr) copy_or_zero(output, size.H, out.last + b * size.H);
  if (out.y != nullptr) fill(out.y + b * size.T * size.H, 0, size.T, output, size.H);
}

// Backward -----------------------------------------------------------------------------------------------------------

// What reaches the output of a step: its own cotangent, and those of the masked steps that repeat it.
TT_INLINE void add_cotangents(const float *dy, int64_t begin, int64_t end, int H, float *to, size_t stride) {
  for (int64_t k = begin; k < end; ++k) add_to_panels(dy + k * H, H, to, stride);
}

TT_INLINE float norm(const float *panels, size_t stride, int count) {
  double sum = 0.0;  // squares of gradients that vanish are beyond float32
  for (int panel = 0; panel < count; ++panel) {
    for (int j = 0; j < 16; ++j) sum += double{panels[panel * stride + j]} * double{panels[panel * stride + j]};
  }
  return static_cast<float>(__builtin_sqrt(sum));
}

template <int32_t CELL>
void add_bias(const float *gates, int tokens, int P, float *bias) {
  constexpr int kWide = Plan<CELL>::kSlots * 16;
  for (int panel = 0; panel < P; ++panel) {
    for (int column = 0; column < kWide; column += TT_LANES) {
      V sum = V{}, other = V{};
      const float *from = gates + static_cast<size_t>(panel) * tokens * kWide + column;
      for (int i = 0; i + 1 < tokens; i += 2) {
        sum += load(from + static_cast<size_t>(i) * kWide);
        other += load(from + static_cast<size_t>(i + 1) * kWide);
      }
      if (tokens % 2 != 0) sum += load(from + static_cast<size_t>(tokens - 1) * kWide);
      store(bias + panel * kWide + column, load(bias + panel * kWide + column) + (sum + other));
    }
  }
}

template <int32_t CELL>
void backward_shard(const BackwardWork &work) {
  using Cell = Plan<CELL>;
  constexpr int kWide = Cell::kSlots * 16;
  const FlushDenormals flush;
  const Shard &shard = *work.shard;
  const Packed &packed = *work.packed;
  const tt_cotangents &in = *work.cotangents;
  const tt_gradients &out = *work.gradients;
  const Sizes size(*work.problem, *work.inputs);
  const int H = size.H, F = size.F, P = size.unit_panels, Q = size.feature_panels;
  const int64_t T = size.T;
  const size_t state = static_cast<size_t>(shard.rows) * 16;
  float *const dh = work.scratch, *const dc = dh + P * state, *const dreset = dc + P * state;
  float *const x = dreset + P * state, *const dx = x + static_cast<size_t>(Q) * 16 * shard.most_tokens;
  __builtin_memset(dh, 0, 3 * P * state * sizeof(float));
  const Event *const first_begin = shard.begins, *const first_end = shard.ends;
  const Event *begin = first_begin + shard.events, *end = first_end + shard.events;  // one past the next
  const auto clear = [&](float *panels, int row) {
    for (int panel = 0; panel < P; ++panel) __builtin_memset(panels + panel * state + row * 16, 0, 64);
  };

  for (int number = shard.chunks - 1; number >= 0; --number) {
    const Chunk &chunk = shard.chunk[number];
    const KeptChunk kept(*work.problem, chunk, work.kept);
    const size_t gate_panel = static_cast<size_t>(chunk.tokens) * kWide;
    const size_t token_panel = static_cast<size_t>(chunk.tokens) * 16;

    for (int step = chunk.end_step - 1; step >= chunk.first_step; --step) {
      const Token *const tokens = shard.token + shard.first_token[step];
      for (; end != first_end && end[-1].step == step; --end) {
        const int row = end[-1].row;
        const int64_t b = end[-1].sequence;
        clear(dh, row);
        clear(dc, row);
        if (in.dhn != nullptr) add_to_panels(in.dhn + b * H, H, dh + row * 16, state);
        if (in.dlast != nullptr && !(size.zero_masked && tokens[row].step != T - 1)) {
          add_to_panels(in.dlast + b * H, H, dh + row * 16, state);
        }
        if (Cell::kHasCell && in.dcn != nullptr) add_to_panels(in.dcn + b * H, H, dc + row * 16, state);
      }

      const int live = shard.live[step], token = shard.first_token[step] - chunk.first_token;
      float *const step_gates = kept.gates + static_cast<size_t>(token) * kWide;
      const float *const h_before = kept.h_before + token * 16;
      if (in.dy != nullptr) {
        for (int row = 0; row < live; ++row) {
          const Token &at = tokens[row];
          add_cotangents(in.dy + at.sequence * T * H, at.step, size.zero_masked ? at.step + 1 : at.until, H,
                         dh + row * 16, state);
        }
      }
      if (out.norms != nullptr) {
        for (int row = 0; row < live; ++row) {
          float *const norms = out.norms + tokens[row].sequence * T;
          norms[tokens[row].step] = norm(dh + row * 16, state, P);
          for (int64_t k = tokens[row].step + 1; k < tokens[row].until; ++k) norms[k] = 0.0f;
        }
      }
      for (int panel = 0; panel < P; ++panel) {
        Cell::backward(live, step_gates + panel * gate_panel, h_before + panel * token_panel,
                       kept.c_before + panel * token_panel + token * 16, dh + panel * state, dc + panel * state);
      }
      if constexpr (CELL == TT_GRU_RESET_BEFORE) {
        each_group<1, 2>(P, state, [&](auto width, int group, size_t offset, size_t part) {
          product<width.kTile, kWide, 16, 16, Start::kZero>(
              live, step_gates, gate_panel, P, 0, packed.candidate_transposed + static_cast<size_t>(group) * P * 16 * 32,
              32, dreset + offset, part, nullptr);
        });
        for (int panel = 0; panel < P; ++panel) {
          Cell::reset_backward(live, step_gates + panel * gate_panel, h_before + panel * token_panel,
                               dreset + panel * state, dh + panel * state);
        }
      }
      each_group<1, 2>(P, state, [&](auto width, int group, size_t offset, size_t part) {
        // What is added to: the way from state to state that meets no weights.
        constexpr Start kStart = CELL == TT_GRU || CELL == TT_GRU_RESET_BEFORE ? Start::kAdd : Start::kZero;
        constexpr int kRun = Cell::kHs * 16;
        product<width.kTile, kWide, kRun, 16, kStart>(
            live, step_gates + Cell::kH * 16, gate_panel, P, 0,
            packed.recurrent_transposed + static_cast<size_t>(group) * P * kRun * 32, 32, dh + offset, part, nullptr);
      });

      for (; begin != first_begin && begin[-1].step == step; --begin) {
        const int row = begin[-1].row;
        const int64_t b = begin[-1].sequence, first = tokens[row].step;
        if (out.dh0 != nullptr) {
          from_panels(dh + row * 16, state, H, out.dh0 + b * H);
          if (size.leading_initial && in.dy != nullptr) {
            for (int64_t k = 0; k < first; ++k) add(in.dy + (b * T + k) * H, H, out.dh0 + b * H);
          }
        }
        if (Cell::kHasCell && out.dc0 != nullptr) from_panels(dc + row * 16, state, H, out.dc0 + b * H);
        for (int64_t k = 0; k < first; ++k) {
          if (out.norms != nullptr) out.norms[b * T + k] = 0.0f;
          if (out.dx != nullptr) copy_or_zero(nullptr, F, out.dx + (b * T + size.place(k)) * F);
        }
      }
    }

    if (out.dx != nullptr) {
      each_group<1, 2>(Q, token_panel, [&](auto width, int group, size_t offset, size_t part) {
        constexpr int kRun = Cell::kXs * 16;
        product<width.kTile, kWide, kRun, 16, Start::kZero>(
            chunk.tokens, kept.gates, gate_panel, P, 0,
            packed.kernel_transposed + static_cast<size_t>(group) * P * kRun * 32, 32, dx + offset, part, nullptr);
      });
      for (int i = 0; i < chunk.tokens; ++i) {
        const Token &at = shard.token[chunk.first_token + i];
        float *to = out.dx + at.sequence * T * F;
        from_panels(dx + i * 16, token_panel, F, to + size.place(at.step) * F);
        for (int64_t k = at.step + 1; k < at.until; ++k) copy_or_zero(nullptr, F, to + size.place(k) * F);
      }
    }
    if (work.sums.kernel != nullptr) {
      size.gather(shard, chunk, x);
      each_group<Cell::kXs, Cell::kXTile>(P, gate_panel, [&](auto width, int group, size_t offset, size_t part) {
        constexpr int kColumns = Cell::kXTile * 16;
        outer_sum<width.kTile, 16, kWide>(F, chunk.tokens, x, token_panel, kept.gates + offset, part,
                                          work.sums.kernel + static_cast<size_t>(group) * F * kColumns, kColumns);
      });
    }
    if (work.sums.recurrent != nullptr) {
      each_group<Cell::kHs, Cell::kHTile>(P, gate_panel, [&](auto width, int group, size_t offset, size_t part) {
        constexpr int kColumns = Cell::kHTile * 16;
        outer_sum<width.kTile, 16, kWide>(H, chunk.tokens, kept.h_before, token_panel,
                                          kept.gates + Cell::kH * 16 + offset, part,
                                          work.sums.recurrent + static_cast<size_t>(group) * H * kColumns, kColumns);
      });
      if constexpr (CELL == TT_GRU_RESET_BEFORE) {
        each_group<1, 2>(P, gate_panel, [&](auto width, int group, size_t offset, size_t part) {
          outer_sum<width.kTile, kWide, kWide>(H, chunk.tokens, kept.gates + 48, gate_panel, kept.gates + offset, part,
                                               work.sums.candidate + static_cast<size_t>(group) * H * 32, 32);
        });
      }
    }
    if (work.sums.bias != nullptr) add_bias<CELL>(kept.gates, chunk.tokens, P, work.sums.bias);
  }
}

TT_INLINE void backward_empty(const BackwardWork &work, int64_t b) {
  const tt_cotangents &in = *work.cotangents;
  const tt_gradients &out = *work.gradients;
  const Sizes size(*work.problem, *work.inputs);
  const int64_t H = size.H, T = size.T;
  if (out.dh0 != nullptr) {
    float *dh0 = out.dh0 + b * H;
    copy_or_zero(row_of(in.dhn, b, H), H, dh0);
    if (size.leading_initial && in.dlast != nullptr) add(in.dlast + b * H, H, dh0);
    if (size.leading_initial && in.dy != nullptr) {
      for (int64_t k = 0; k < T; ++k) add(in.dy + (b * T + k) * H, H, dh0);
    }
  }
  if (out.dc0 != nullptr) copy_or_zero(row_of(in.dcn, b, H), H, out.dc0 + b * H);
  if (out.norms != nullptr) copy_or_zero(nullptr, T, out.norms + b * T);
  if (out.dx != nullptr) copy_or_zero(nullptr, T * size.F, out.dx + b * T * size.F);
}

// Dispatch -----------------------------------------------------------------------------------------------------------

// Sequences are in order of length, so those without a valid step come last.
inline int with_steps(const Shard &shard) { return shard.events; }

inline void forward(const ForwardWork &work) {
  switch (work.problem->cell) {
    case TT_RNN_TANH: forward_shard<TT_RNN_TANH>(work); break;
    case TT_RNN_RELU: forward_shard<TT_RNN_RELU>(work); break;
    case TT_GRU: forward_shard<TT_GRU>(work); break;
    case TT_GRU_RESET_BEFORE: forward_shard<TT_GRU_RESET_BEFORE>(work); break;
    case TT_LSTM: forward_shard<TT_LSTM>(work); break;
  }
  for (int i = with_steps(*work.shard); i < work.shard->sequences; ++i) forward_empty(work, work.shard->sequence[i]);
}

inline void backward(const BackwardWork &work) {
  switch (work.problem->cell) {
    case TT_RNN_TANH: backward_shard<TT_RNN_TANH>(work); break;
    case TT_RNN_RELU: backward_shard<TT_RNN_RELU>(work); break;
    case TT_GRU: backward_shard<TT_GRU>(work); break;
    case TT_GRU_RESET_BEFORE: backward_shard<TT_GRU_RESET_BEFORE>(work); break;
    case TT_LSTM: backward_shard<TT_LSTM>(work); break;
  }
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
