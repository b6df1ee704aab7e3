// A shard of the batch from its last step back to its first, or a run of its chunks. Included after plan.h by kernels_*.cc alone.
#pragma once

// What reaches the output of a step: its own cotangent, and those of the masked steps that repeat it.
TT_INLINE void add_cotangents(const float *dy, int64_t begin, int64_t end, int width, int H, float *to, size_t stride) {
  for (int64_t k = begin; k < end; ++k) add_to_panels(dy + k * width, H, to, stride);
}

TT_INLINE float norm(const float *panels, size_t stride, int count) {
  V sum = V{};
  for (int panel = 0; panel < count; ++panel) {
    for (int j = 0; j < 16; j += TT_LANES) {
      const V value = load(panels + panel * stride + j);
      sum = fma(value, value, sum);
    }
  }
  const float all = total(sum);
  if (all > 1e-24f && all < 1e30f) return __builtin_sqrtf(all);
  // Squares of gradients that vanish or explode are beyond float32.
  double exact = 0.0;
  for (int panel = 0; panel < count; ++panel) {
    for (int j = 0; j < 16; ++j) exact += double{panels[panel * stride + j]} * double{panels[panel * stride + j]};
  }
  return static_cast<float>(__builtin_sqrt(exact));
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

// Units that fill up the last panel have weights of zero. Infinity times zero is no number, and as a factor of the next
// product it would make one of every unit.
template <int WIDE>
TT_INLINE void clear_padding(int rows, float *last_panel, int used) {
  alignas(64) static constexpr float kLane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const V count = splat(static_cast<float>(used));
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < WIDE; column += TT_LANES) {
      float *const at = last_panel + row * WIDE + column;
      store(at, load(kLane + column % 16) < count ? load(at) : V{});
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
  const int H = size.H, F = size.F, P = size.unit_panels, Q = size.feature_panels, W = output_width<CELL>(H);
  const int64_t T = size.T;
  const size_t state = static_cast<size_t>(shard.rows) * 16;
  float *const dh = work.scratch, *const dc = dh + P * state, *const dreset = dc + P * state;
  float *const x = dreset + P * state, *const dx = x + static_cast<size_t>(Q) * 16 * shard.most_tokens;
  if (work.end_chunk == shard.chunks) __builtin_memset(dh, 0, 3 * P * state * sizeof(float));
  const Event *const first_begin = shard.begins, *const first_end = shard.ends;
  const int end_step = work.first_chunk < work.end_chunk ? shard.chunk[work.end_chunk - 1].end_step : 0;
  const Event *begin = event_at(first_begin, shard.events, end_step);  // one past the next
  const Event *end = event_at(first_end, shard.events, end_step);
  [[maybe_unused]] const Candidate candidate = candidate_of(work.problem->cell);
  const int used = H % 16;  // of the last panel, where not all are
  const auto clear = [&](float *panels, int row) {
    for (int panel = 0; panel < P; ++panel) __builtin_memset(panels + panel * state + row * 16, 0, 64);
  };

  for (int number = work.end_chunk - 1; number >= work.first_chunk; --number) {
    const Chunk &chunk = shard.chunk[number];
    const KeptChunk kept(*work.problem, chunk, shard.chunk[work.first_chunk], work.kept);
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
          add_to_panels(in.dlast + b * W, H, dh + row * 16, state);
          if (CELL == TT_LRU) add_to_panels(in.dlast + b * W + H, H, dc + row * 16, state);
        }
        if (Cell::kHasCell && in.dcn != nullptr) add_to_panels(in.dcn + b * H, H, dc + row * 16, state);
      }

      const int live = shard.live[step], token = shard.first_token[step] - chunk.first_token;
      float *const step_gates = kept.gates + static_cast<size_t>(token) * kWide;
      const float *const h_before = kept.h_before + token * 16;
      if (in.dy != nullptr) {
        for (int row = 0; row < live; ++row) {
          const Token &at = tokens[row];
          const float *const dy = in.dy + at.sequence * T * W;
          const int64_t until = size.zero_masked ? at.step + 1 : at.until;
          add_cotangents(dy, at.step, until, W, H, dh + row * 16, state);
          if (CELL == TT_LRU) add_cotangents(dy + H, at.step, until, W, H, dc + row * 16, state);
        }
      }
      if (out.norms != nullptr) {
        for (int row = 0; row < live; ++row) {
          float *const norms = out.norms + tokens[row].sequence * T;
          norms[tokens[row].step] = norm(dh + row * 16, state, P);
          if (CELL == TT_LRU) {
            norms[tokens[row].step] = __builtin_hypotf(norms[tokens[row].step], norm(dc + row * 16, state, P));
          }
          for (int64_t k = tokens[row].step + 1; k < tokens[row].until; ++k) norms[k] = 0.0f;
        }
      }
      for (int panel = 0; panel < P; ++panel) {
        float *const panel_gates = step_gates + panel * gate_panel;
        const float *const before = h_before + panel * token_panel;
        if constexpr (CELL == TT_LRU) {
          Cell::backward(live, panel_gates, packed.factor + panel * 32, dh + panel * state, dc + panel * state);
        } else if constexpr (Cell::kHs == 0) {
          Cell::backward(candidate, live, panel_gates, before, dh + panel * state);
        } else {
          Cell::backward(live, panel_gates, before, kept.c_before + panel * token_panel + token * 16,
                         dh + panel * state, dc + panel * state);
        }
      }
      float *const last_gates = step_gates + (P - 1) * gate_panel, *const last_dh = dh + (P - 1) * state;
      if (CELL != TT_LRU && used != 0) {
        clear_padding<kWide>(live, last_gates, used);
        clear_padding<16>(live, last_dh, used);
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
        if (used != 0) {
          clear_padding<kWide>(live, last_gates, used);
          clear_padding<16>(live, last_dh, used);
        }
      }
      if constexpr (Cell::kHs > 0) {
        each_group<1, 2>(P, state, [&](auto width, int group, size_t offset, size_t part) {
          // What is added to: the way from state to state that meets no weights.
          constexpr Start kStart = CELL == TT_GRU || CELL == TT_GRU_RESET_BEFORE ? Start::kAdd : Start::kZero;
          constexpr int kRun = Cell::kHs * 16;
          product<width.kTile, kWide, kRun, 16, kStart>(
              live, step_gates + Cell::kH * 16, gate_panel, P, 0,
              packed.recurrent_transposed + static_cast<size_t>(group) * P * kRun * 32, 32, dh + offset, part, nullptr);
        });
      }

      for (; begin != first_begin && begin[-1].step == step; --begin) {
        const int row = begin[-1].row;
        const int64_t b = begin[-1].sequence, first = tokens[row].step;
        if (out.dh0 != nullptr) {
          from_panels(dh + row * 16, state, H, out.dh0 + b * H);
          if (size.leading_initial && in.dy != nullptr) {
            for (int64_t k = 0; k < first; ++k) add(in.dy + (b * T + k) * W, H, out.dh0 + b * H);
          }
        }
        if (Cell::kHasCell && out.dc0 != nullptr) {
          from_panels(dc + row * 16, state, H, out.dc0 + b * H);
          if (CELL == TT_LRU && size.leading_initial && in.dy != nullptr) {
            for (int64_t k = 0; k < first; ++k) add(in.dy + (b * T + k) * W + H, H, out.dc0 + b * H);
          }
        }
        const int64_t masked = size.reverse ? T - first : 0;  // place of the first of them
        if (out.norms != nullptr) fill(out.norms + b * T, 0, first, nullptr, 1);
        if (out.dx != nullptr) fill(out.dx + b * T * F, masked, masked + first, nullptr, F);
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
        const int64_t masked = size.reverse ? T - at.until : at.step + 1;
        fill(to, masked, masked + at.until - at.step - 1, nullptr, F);
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
    if (Cell::kHs > 0 && work.sums.recurrent != nullptr) {
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
    if constexpr (CELL == TT_LRU) {
      for (int panel = 0; work.sums.factor != nullptr && panel < P; ++panel) {
        Cell::add_factor(chunk.tokens, kept.gates + panel * gate_panel, kept.h_before + panel * token_panel,
                         kept.c_before + panel * token_panel, work.sums.factor + panel * 32);
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
  const bool is_lru = work.problem->cell == TT_LRU;
  const int64_t W = is_lru ? output_width<TT_LRU>(size.H) : H;
  const auto initial = [&](const float *from, int64_t first, float *to) {  // `first` of the columns of the outputs
    copy_or_zero(row_of(from, b, H), H, to);
    if (!size.leading_initial || first == W) return;
    if (in.dlast != nullptr) add(in.dlast + b * W + first, H, to);
    for (int64_t k = 0; in.dy != nullptr && k < T; ++k) add(in.dy + (b * T + k) * W + first, H, to);
  };
  if (out.dh0 != nullptr) initial(in.dhn, 0, out.dh0 + b * H);
  if (out.dc0 != nullptr) initial(in.dcn, H, out.dc0 + b * H);
  if (out.norms != nullptr) copy_or_zero(nullptr, T, out.norms + b * T);
  if (out.dx != nullptr) copy_or_zero(nullptr, T * size.F, out.dx + b * T * size.F);
}
