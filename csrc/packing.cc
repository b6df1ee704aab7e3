#include "packing.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "pool.h"

namespace tt {
namespace {

// Keras's number of the gate that a slot holds.
int gate_of(int32_t cell, int slot) {
  if (cell == TT_GRU || cell == TT_GRU_RESET_BEFORE) return slot == 1 ? 0 : slot == 2 ? 1 : 2;  // n, z, r, n
  return slot;
}

int gates_of(int32_t cell) { return layout_of(cell).x_slots; }

Columns columns_of(const tt_problem &problem, int first_slot, int slots, int tile) {
  Columns columns;
  columns.tile = tile;
  columns.stride = problem.units * gates_of(problem.cell);
  for (int64_t unit = 0; unit < problem.units; unit += kLane) {
    for (int slot = first_slot; slot < first_slot + slots; ++slot) {
      const int width = static_cast<int>(std::min<int64_t>(kLane, problem.units - unit));
      columns.parts.push_back({gate_of(problem.cell, slot) * problem.units + unit, width});
    }
  }
  return columns;
}

void pack_group(const Columns &columns, const float *from, int64_t rows, int group, float *to) {
  const size_t first = static_cast<size_t>(group) * columns.tile;
  to += columns.group_floats(rows) * group;
  for (int64_t row = 0; row < rows; ++row) {
    for (int part = 0; part < columns.tile; ++part, to += kLane) {
      const int width = first + part < columns.parts.size() ? columns.parts[first + part].width : 0;
      if (width == kLane) {
        std::memcpy(to, from + row * columns.stride + columns.parts[first + part].start, kLane * sizeof(float));
      } else {
        std::memset(to, 0, kLane * sizeof(float));
        if (width > 0) {
          std::memcpy(to, from + row * columns.stride + columns.parts[first + part].start, width * sizeof(float));
        }
      }
    }
  }
}

// Groups of 32 rows of the Keras matrix; their columns become rows, 16 a part.
constexpr int kTransposedTile = 2;

int transposed_groups(int64_t rows) { return static_cast<int>((panels(rows) + 1) / kTransposedTile); }
size_t transposed_group_floats(const Columns &columns) { return columns.parts.size() * kLane * kTransposedTile * kLane; }

void pack_transposed_group(const Columns &columns, const float *from, int64_t rows, int group, float *to) {
  constexpr int kWide = kTransposedTile * kLane;
  to += transposed_group_floats(columns) * group;
  const int64_t first = int64_t{group} * kWide;
  const int real = static_cast<int>(std::min<int64_t>(kWide, rows - first));
  for (const Columns::Part &part : columns.parts) {
    if (part.width < kLane || real < kWide) std::memset(to, 0, kLane * kWide * sizeof(float));
    for (int row = 0; row < real; ++row) {
      const float *at = from + (first + row) * columns.stride + part.start;
      for (int j = 0; j < part.width; ++j) to[j * kWide + row] = at[j];
    }
    to += kLane * kWide;
  }
}

void unpack_group(const Columns &columns, const std::vector<const float *> &shards, int64_t rows, int group, float *to) {
  const size_t first = static_cast<size_t>(group) * columns.tile;
  const size_t offset = columns.group_floats(rows) * group;
  const int parts = static_cast<int>(std::min<size_t>(columns.tile, columns.parts.size() - first));
  for (int64_t row = 0; row < rows; ++row) {
    for (int part = 0; part < parts; ++part) {
      const size_t at = offset + (static_cast<size_t>(row) * columns.tile + part) * kLane;
      float sum[kLane];
      std::memcpy(sum, shards[0] + at, sizeof sum);
      for (size_t shard = 1; shard < shards.size(); ++shard) {
        for (int j = 0; j < kLane; ++j) sum[j] += shards[shard][at + j];
      }
      const Columns::Part &place = columns.parts[first + part];
      std::memcpy(to + row * columns.stride + place.start, sum, place.width * sizeof(float));
    }
  }
}

// Where a part of an LRU's lambda lies.
size_t factor_at(int64_t unit, int part) {
  return static_cast<size_t>((unit / kLane * 2 + part) * kLane + unit % kLane);
}

// Moved by one core in 10 microseconds or so.
constexpr size_t kOneThread = size_t{1} << 16;

// Numbered pieces of work of several kinds.
class Pieces {
 public:
  void add(int count, std::function<void(int)> run) {
    if (count > 0) parts_.push_back({count_ += count, count, std::move(run)});
  }
  // `floats` are moved: few of them are not worth waking a thread.
  void run(int threads, size_t floats) const {
    parallel_for(count_, floats < kOneThread ? 1 : threads, [this](int number) {
      for (const Part &part : parts_) {
        if (number < part.end) return part.run(number - (part.end - part.count));
      }
    });
  }

 private:
  struct Part {
    int end, count;
    std::function<void(int)> run;
  };
  std::vector<Part> parts_;
  int count_ = 0;
};

}  // namespace

Packing::Packing(const tt_problem &problem)
    : problem_(problem),
      layout_(layout_of(problem.cell)),
      x_(columns_of(problem, layout_.x_slot, layout_.x_slots, layout_.x_tile)),
      h_(columns_of(problem, layout_.h_slot, layout_.h_slots, layout_.h_tile)),
      candidate_(columns_of(problem, 0, 1, 2)),
      has_candidate_(problem.cell == TT_GRU_RESET_BEFORE) {}

Packed Packing::pack(const tt_inputs &inputs, bool transposed, bool dx, int threads, Block &block) const {
  const int64_t F = problem_.features, H = problem_.units;
  const size_t bias_floats = panels(H) * layout_.slots * kLane;
  size_t floats = bias_floats + factor_floats();
  if (transposed) {
    if (dx) floats += transposed_group_floats(x_) * transposed_groups(F);
    floats += transposed_group_floats(h_) * transposed_groups(H);
    if (has_candidate_) floats += transposed_group_floats(candidate_) * transposed_groups(H);
  } else {
    floats += x_.floats(F) + h_.floats(H) + (has_candidate_ ? candidate_.floats(H) : 0);
  }
  block = Block::of_floats(floats);
  float *next = block.floats();
  Packed packed{};
  Pieces pieces;
  const auto plain = [&](const Columns &columns, const float *from, int64_t rows) {
    float *const to = next;
    next += columns.floats(rows);
    pieces.add(columns.groups(), [&columns, from, rows, to](int group) { pack_group(columns, from, rows, group, to); });
    return to;
  };
  const auto turned = [&](const Columns &columns, const float *from, int64_t rows) {
    float *const to = next;
    next += transposed_group_floats(columns) * transposed_groups(rows);
    pieces.add(transposed_groups(rows),
               [&columns, from, rows, to](int group) { pack_transposed_group(columns, from, rows, group, to); });
    return to;
  };
  if (transposed) {
    if (dx) packed.kernel_transposed = turned(x_, inputs.kernel, F);
    packed.recurrent_transposed = turned(h_, inputs.recurrent_kernel, H);
    if (has_candidate_) packed.candidate_transposed = turned(candidate_, inputs.recurrent_kernel, H);
  } else {
    packed.kernel = plain(x_, inputs.kernel, F);
    packed.recurrent = plain(h_, inputs.recurrent_kernel, H);
    if (has_candidate_) packed.candidate = plain(candidate_, inputs.recurrent_kernel, H);
  }
  pieces.run(threads, floats);

  if (factor_floats() != 0) {
    packed.factor = next;
    std::fill(next, next + factor_floats(), 0.0f);
    for (int64_t unit = 0; unit < H; ++unit) {
      for (int part = 0; part < 2; ++part) next[factor_at(unit, part)] = inputs.recurrent_kernel[2 * unit + part];
    }
    next += factor_floats();
  }

  float *const bias = next;
  packed.bias = bias;
  std::fill(bias, bias + bias_floats, 0.0f);
  const auto add_bias = [&](const float *from, int slot, int gate) {
    for (int64_t unit = 0; from != nullptr && unit < H; ++unit) {
      bias[(unit / kLane * layout_.slots + slot) * kLane + unit % kLane] += from[gate * H + unit];
    }
  };
  for (int slot = layout_.x_slot; slot < layout_.x_slot + layout_.x_slots; ++slot) {
    add_bias(inputs.bias, slot, gate_of(problem_.cell, slot));
  }
  if (problem_.cell == TT_GRU) {
    for (int slot = layout_.h_slot; slot < layout_.h_slot + layout_.h_slots; ++slot) {
      add_bias(inputs.recurrent_bias, slot, gate_of(problem_.cell, slot));
    }
  }
  return packed;
}

size_t Packing::sum_floats() const {
  return x_.floats(problem_.features) + h_.floats(problem_.units) +
         (has_candidate_ ? candidate_.floats(problem_.units) : 0) + panels(problem_.units) * layout_.slots * kLane +
         factor_floats();
}

size_t Packing::factor_floats() const { return problem_.cell == TT_LRU ? panels(problem_.units) * 2 * kLane : 0; }

Sums Packing::sums(float *floats, const tt_gradients &gradients) const {
  Sums sums{};
  float *const recurrent = floats + x_.floats(problem_.features);
  float *const candidate = recurrent + h_.floats(problem_.units);
  float *const bias = candidate + (has_candidate_ ? candidate_.floats(problem_.units) : 0);
  if (gradients.dkernel != nullptr) sums.kernel = floats;
  if (gradients.drecurrent_kernel != nullptr) {
    sums.recurrent = recurrent;
    sums.candidate = has_candidate_ ? candidate : nullptr;
    sums.factor = factor_floats() != 0 ? bias + panels(problem_.units) * layout_.slots * kLane : nullptr;
  }
  if (gradients.dbias != nullptr || gradients.drecurrent_bias != nullptr) sums.bias = bias;
  return sums;
}

void Packing::unpack(const std::vector<Sums> &sums, const tt_gradients &gradients, int threads) const {
  const int64_t F = problem_.features, H = problem_.units;
  Pieces pieces;
  const auto matrix = [&](float *Sums::*part, const Columns &columns, int64_t rows, float *to) {
    std::vector<const float *> shards;
    for (const Sums &one : sums) shards.push_back(one.*part);
    pieces.add(columns.groups(), [&columns, shards, rows, to](int group) {
      unpack_group(columns, shards, rows, group, to);
    });
  };
  if (gradients.dkernel != nullptr) matrix(&Sums::kernel, x_, F, gradients.dkernel);
  if (gradients.drecurrent_kernel != nullptr) {
    matrix(&Sums::recurrent, h_, H, gradients.drecurrent_kernel);
    if (has_candidate_) matrix(&Sums::candidate, candidate_, H, gradients.drecurrent_kernel);
  }
  pieces.run(threads, sum_floats() * sums.size());

  if (factor_floats() != 0 && gradients.drecurrent_kernel != nullptr) {
    for (int64_t unit = 0; unit < H; ++unit) {
      for (int part = 0; part < 2; ++part) {
        float sum = 0.0f;
        for (const Sums &one : sums) sum += one.factor[factor_at(unit, part)];
        gradients.drecurrent_kernel[2 * unit + part] = sum;
      }
    }
  }

  const auto bias = [&](float *to, int first_slot, int slots) {
    for (int slot = first_slot; to != nullptr && slot < first_slot + slots; ++slot) {
      for (int64_t unit = 0; unit < H; ++unit) {
        float sum = 0.0f;
        for (const Sums &one : sums) sum += one.bias[(unit / kLane * layout_.slots + slot) * kLane + unit % kLane];
        to[gate_of(problem_.cell, slot) * H + unit] = sum;
      }
    }
  };
  bias(gradients.dbias, layout_.x_slot, layout_.x_slots);
  if (problem_.cell == TT_GRU) bias(gradients.drecurrent_bias, layout_.h_slot, layout_.h_slots);
}

}  // namespace tt
