// A shard of the batch from its first step to its last, or a run of its chunks. Included after plan.h by kernels_*.cc alone.
#pragma once

template <int32_t CELL>
void forward_shard(const ForwardWork &work) {
  using Cell = Plan<CELL>;
  constexpr int kWide = Cell::kSlots * 16;
  const FlushDenormals flush;
  const Shard &shard = *work.shard;
  const Packed &packed = *work.packed;
  const tt_forward_outputs &out = *work.outputs;
  const Sizes size(*work.problem, *work.inputs);
  const int H = size.H, P = size.unit_panels, W = output_width<CELL>(H);
  const size_t state = static_cast<size_t>(shard.rows) * 16;  // floats of a panel of states
  float *h = work.scratch, *h_next = h + P * state, *c = h_next + P * state, *x = c + P * state;
  float *scratch_gates = x + static_cast<size_t>(size.feature_panels) * 16 * shard.most_tokens;
  const int first_step = work.first_chunk < work.end_chunk ? shard.chunk[work.first_chunk].first_step : 0;
  const Event *begin = event_at(shard.begins, shard.events, first_step);
  const Event *end = event_at(shard.ends, shard.events, first_step);
  const Event *const last_begin = shard.begins + shard.events, *const last_end = shard.ends + shard.events;
  if (work.from_state != nullptr) {
    __builtin_memcpy(h, work.from_state, P * state * sizeof(float));
    if (Cell::kHasCell) __builtin_memcpy(c, work.from_state + P * state, P * state * sizeof(float));
  }

  for (int number = work.first_chunk; number < work.end_chunk; ++number) {
    const Chunk &chunk = shard.chunk[number];
    const bool keep = number >= work.kept_chunk;
    const KeptChunk kept(*work.problem, chunk, keep ? shard.chunk[work.kept_chunk] : chunk,
                         keep ? work.kept : scratch_gates);
    float *const gates = kept.gates;
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
    if constexpr (CELL == TT_MIN_GRU || CELL == TT_MIN_LSTM) {  // gates that see no state are all known
      const Candidate candidate = candidate_of(work.problem->cell);
      for (int panel = 0; panel < P; ++panel) Cell::open(candidate, chunk.tokens, gates + panel * gate_panel);
    }
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
        for (int panel = 0; panel < P; ++panel) {  // whole panels: columns beyond H are computed too, and must be finite
          float *to = h + panel * state + begin->row * 16, *to_c = c + panel * state + begin->row * 16;
          for (int j = 0; j < 16; ++j) {
            const bool real = panel * 16 + j < H;
            to[j] = real && h0 != nullptr ? h0[panel * 16 + j] : 0.0f;
            if (Cell::kHasCell) to_c[j] = real && c0 != nullptr ? c0[panel * 16 + j] : 0.0f;
          }
        }
        if (out.y != nullptr) {
          const int64_t first = shard.token[shard.first_token[step] + begin->row].step;
          const bool initial = size.leading_initial;
          fill_outputs(out.y + b * size.T * W, 0, first, initial ? h0 : nullptr, initial ? c0 : nullptr, H, W);
        }
      }

      const int live = shard.live[step], token = shard.first_token[step] - chunk.first_token;
      float *const step_gates = gates + static_cast<size_t>(token) * kWide;
      if (keep) {
        for (int panel = 0; panel < P; ++panel) {
          __builtin_memcpy(kept.h_before + panel * token_panel + token * 16, h + panel * state,
                           static_cast<size_t>(live) * 64);
        }
      }
      const auto finish = [&](int first, int count) {
        for (int panel = first; panel < first + count; ++panel) {
          float *const panel_gates = step_gates + panel * gate_panel, *const before = h + panel * state;
          float *const cell = c + panel * state, *const after = h_next + panel * state;
          float *const c_before = keep ? kept.c_before + panel * token_panel + token * 16 : nullptr;
          if constexpr (CELL == TT_LRU) {
            Cell::forward(live, panel_gates, packed.factor + panel * 32, before, cell, after, c_before);
          } else {
            Cell::forward(live, panel_gates, before, cell, after, c_before);
          }
        }
      };
      const auto recur = [&](auto width, int group, size_t offset, size_t part) {
        constexpr int kColumns = Cell::kHTile * 16;
        product<width.kTile, 16, 16, kWide, Start::kAdd>(
            live, h, state, H / 16, H % 16, packed.recurrent + static_cast<size_t>(group) * H * kColumns, kColumns,
            step_gates + Cell::kH * 16 + offset, part, nullptr);
      };
      if constexpr (Cell::kHs == 0) {
        finish(0, P);
      } else if constexpr (CELL == TT_GRU_RESET_BEFORE) {
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
          float *y = out.y + at.sequence * size.T * W;
          from_panels(h + row * 16, state, H, y + at.step * int64_t{W});
          if (CELL == TT_LRU) from_panels(c + row * 16, state, H, y + at.step * int64_t{W} + H);
          if (at.until > at.step + 1) {
            fill(y, at.step + 1, at.until, size.zero_masked ? nullptr : y + at.step * int64_t{W}, W);
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
            copy_or_zero(nullptr, W, out.last + b * W);
          } else {
            from_panels(from, state, H, out.last + b * W);
            if (CELL == TT_LRU) from_panels(c + end->row * 16, state, H, out.last + b * W + H);
          }
        }
      }
    }
  }
  if (work.to_state != nullptr) {
    __builtin_memcpy(work.to_state, h, P * state * sizeof(float));
    if (Cell::kHasCell) __builtin_memcpy(work.to_state + P * state, c, P * state * sizeof(float));
  }
}

// Sequences without a valid step.
TT_INLINE void forward_empty(const ForwardWork &work, int64_t b) {
  const tt_forward_outputs &out = *work.outputs;
  const Sizes size(*work.problem, *work.inputs);
  const int64_t H = size.H, W = work.problem->cell == TT_LRU ? output_width<TT_LRU>(size.H) : H;
  const float *h0 = row_of(work.inputs->h0, b, H), *c0 = row_of(work.inputs->c0, b, H);
  if (out.hn != nullptr) copy_or_zero(h0, H, out.hn + b * H);
  if (out.cn != nullptr) copy_or_zero(c0, H, out.cn + b * H);
  if (!size.leading_initial) h0 = c0 = nullptr;
  if (out.last != nullptr) fill_outputs(out.last + b * W, 0, 1, h0, c0, H, W);
  if (out.y != nullptr) fill_outputs(out.y + b * size.T * W, 0, size.T, h0, c0, H, W);
}
