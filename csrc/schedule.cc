// Sequences are sorted by length and cut into shards of about equal numbers of valid steps, so that a shard's sequences
// are of like length. Within a shard each sequence is laid into the row that is free first: a row that has ended its
// sequence begins the next one, while the others go on. So the number of rows that work together stays the same until
// the end, where lockstep over the batch would thin out to its longest sequence alone.
#include "schedule.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <numeric>
#include <utility>

namespace tt {
namespace {

// What a step of so many rows costs, in rows: itself, its rows, and reading the weights. Once those leave the second-level
// cache they are what a step of few rows waits for. Measured by fitting the time of forward and backward over 2 to 42 rows:
// at 512 units to 4%; at 256 and below the weights stay in the cache.
struct StepCost {
  explicit StepCost(const tt_problem &problem) {
    const double floats = static_cast<double>(problem.units) * static_cast<double>(problem.units) *
                          layout_of(problem.cell).h_slots;
    if (floats * sizeof(float) > 1.5e6) {
      itself = 1.7;
      reading = 5.2;
      row = 0.64;
    }
  }
  double of(double rows) const { return std::max(rows + itself, reading + row * rows); }

  double itself = 0.5;
  double reading = 0, row = 0;  // where reading takes longer than computing
};

double work(const tt_problem &problem, int64_t tokens) {
  return 2.0 * static_cast<double>(tokens) * layout_of(problem.cell).x_slots * static_cast<double>(problem.units) *
         static_cast<double>(problem.units + problem.features);
}

// More rows at once leave the cache; fewer read the weights too often.
constexpr int kMostRows = 42;
// Steps worked on together: gates and states of so many tokens are to stay in the second-level cache.
constexpr int kChunkTokens = 256;
// Floating-point operations of a forward pass that take 5 milliseconds or so, and what may be paid for more shards then.
constexpr double kLongWork = 1e9, kDearer = 1.03;
// Below so many steps a shard is not worth a thread.
constexpr int64_t kLeastTokens = 48;

// The first place from t on, or T, that is not masked; that is masked. A row of NULL masks nothing.
int64_t next_valid(const uint8_t *row, int64_t t, int64_t T) {
  if (row == nullptr) return t;
  for (uint64_t eight; t + 8 <= T; t += 8) {
    std::memcpy(&eight, row + t, sizeof eight);
    if (eight != 0) break;
  }
  while (t < T && row[t] == 0) ++t;
  return t;
}
int64_t next_masked(const uint8_t *row, int64_t t, int64_t T) {
  const void *zero = row != nullptr ? std::memchr(row + t, 0, static_cast<size_t>(T - t)) : nullptr;
  return zero != nullptr ? static_cast<const uint8_t *>(zero) - row : T;
}

// Sequences of one shard laid into rows: which row each goes to, and how many steps each row has then.
struct Rows {
  std::vector<int32_t> row;
  std::vector<int64_t> steps;
  double cost = 0;  // of all steps, in rows
};

// Each sequence, the longest first, goes to the row that is free first.
Rows laid_into(int rows, const int32_t *begin, const int32_t *end, const std::vector<int32_t> &length,
               const StepCost &step) {
  Rows laid;
  laid.steps.assign(static_cast<size_t>(rows), 0);
  laid.row.reserve(static_cast<size_t>(end - begin));
  for (const int32_t *at = begin; at != end; ++at) {
    const auto free = std::min_element(laid.steps.begin(), laid.steps.end());
    laid.row.push_back(static_cast<int32_t>(free - laid.steps.begin()));
    *free += length[*at];
  }
  std::vector<int64_t> ends = laid.steps;  // of the rows, the first one to end first
  std::sort(ends.begin(), ends.end());
  int64_t before = 0;
  for (size_t ended = 0; ended < ends.size(); before = ends[ended++]) {
    laid.cost += static_cast<double>(ends[ended] - before) * step.of(static_cast<double>(ends.size() - ended));
  }
  return laid;
}

Rows best_rows(const int32_t *begin, const int32_t *end, const std::vector<int32_t> &length, const StepCost &step) {
  int64_t tokens = 0, longest = 1;
  for (const int32_t *at = begin; at != end; ++at) {
    tokens += length[*at];
    longest = std::max<int64_t>(longest, length[*at]);
  }
  const int most = static_cast<int>(std::min<int64_t>(kMostRows, end - begin));
  // As many as keep all rows busy for as long as the longest sequence takes; a few more where they do not fit so well.
  const int least = std::max(1, static_cast<int>(std::min<int64_t>(most, (tokens + longest - 1) / longest)));
  const double ideal = static_cast<double>(tokens) + step.itself * static_cast<double>(longest);
  Rows best = laid_into(least, begin, end, length, step);
  for (int rows = least + 1; rows <= std::min(most, least + 4) && best.cost > 1.02 * ideal; ++rows) {
    Rows other = laid_into(rows, begin, end, length, step);
    if (other.cost < best.cost) best = std::move(other);
  }
  return best;
}

using Cuts = std::vector<int32_t>;  // where shards begin in by_length, and the end

// Cuts where the running sum of tokens comes nearest to each share's end; shares add up to 1.
Cuts cut(const std::vector<double> &shares, const std::vector<int32_t> &by_length, const std::vector<int32_t> &length,
         int64_t tokens) {
  Cuts cuts{0};
  double sum = 0, target = shares[0] * static_cast<double>(tokens);
  for (size_t at = 0; at + 1 < by_length.size() && cuts.size() < shares.size(); ++at) {
    const double before = sum;
    sum += length[by_length[at]];
    if (sum <= target) continue;
    const bool after = sum - target < target - before || static_cast<int32_t>(at) == cuts.back();
    target += shares[cuts.size()] * static_cast<double>(tokens);
    cuts.push_back(static_cast<int32_t>(at) + (after ? 1 : 0));
  }
  cuts.push_back(static_cast<int32_t>(by_length.size()));
  return cuts;
}

// When the last thread ends, each taking the next shard as it comes free.
double makespan(std::vector<double> costs, int threads) {
  std::sort(costs.begin(), costs.end(), std::greater<double>());
  std::vector<double> busy(static_cast<size_t>(threads), 0);
  for (const double one : costs) *std::min_element(busy.begin(), busy.end()) += one;
  return *std::max_element(busy.begin(), busy.end());
}

}  // namespace

ValidSteps::ValidSteps(const tt_problem &problem, const uint8_t *mask) {
  const int64_t B = problem.batch, T = problem.steps;
  runs.reserve(static_cast<size_t>(B));
  first_run.reserve(static_cast<size_t>(B) + 1);
  length.reserve(static_cast<size_t>(B));
  for (int64_t b = 0; b < B; ++b) {
    first_run.push_back(static_cast<int32_t>(runs.size()));
    int64_t valid = 0;
    const uint8_t *const row = mask != nullptr ? mask + b * T : nullptr;
    for (int64_t t = next_valid(row, 0, T); t < T;) {
      const int64_t end = next_masked(row, t, T);
      const auto k = [&](int64_t place) { return static_cast<int32_t>(problem.reverse ? T - place : place); };
      runs.push_back(problem.reverse ? Run{k(end), k(t)} : Run{k(t), k(end)});
      valid += end - t;
      t = next_valid(row, end, T);
    }
    if (problem.reverse) std::reverse(runs.begin() + first_run.back(), runs.end());
    length.push_back(static_cast<int32_t>(valid));
    tokens += valid;
  }
  first_run.push_back(static_cast<int32_t>(runs.size()));
}

Schedule::Schedule(const tt_problem &problem, const ValidSteps &valid, int threads) {
  const int64_t B = problem.batch, T = problem.steps;
  const std::vector<int32_t> &length = valid.length;
  std::vector<int32_t> by_length(static_cast<size_t>(B));
  std::iota(by_length.begin(), by_length.end(), 0);
  std::stable_sort(by_length.begin(), by_length.end(), [&](int32_t a, int32_t b) { return length[a] > length[b]; });
  tokens_ = valid.tokens;

  // As many shards as threads; twice as many where the work is long enough for a core to be taken away meanwhile.
  const StepCost step(problem);
  const int most = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, tokens_ / kLeastTokens)));
  Cuts best_cuts;
  std::vector<Rows> best;
  double best_time = 0;
  for (const int shards : {most, 2 * most}) {
    if (shards > most && (most == 1 || work(problem, tokens_) < kLongWork)) break;
    const bool first = best.empty();
    std::vector<double> shares(static_cast<size_t>(shards), 1.0 / shards);
    // A shard of longer sequences has more steps, which cost by themselves: what it costs too much, it gives away.
    for (int round = 0; round < (shards > 1 ? 3 : 1); ++round) {
      const Cuts cuts = cut(shares, by_length, length, tokens_);
      std::vector<Rows> rows;
      std::vector<double> costs;
      for (size_t part = 0; part + 1 < cuts.size(); ++part) {
        rows.push_back(
            best_rows(by_length.data() + cuts[part], by_length.data() + cuts[part + 1], length, step));
        costs.push_back(rows.back().cost);
      }
      const double mean = std::accumulate(costs.begin(), costs.end(), 0.0) / static_cast<double>(costs.size());
      const bool balanced = *std::max_element(costs.begin(), costs.end()) < 1.02 * mean;
      for (size_t part = 0; part < costs.size() && tokens_ > 0; ++part) {
        shares[part] = std::max(0.0, shares[part] + (mean - costs[part]) / static_cast<double>(tokens_));
      }
      const double time = makespan(std::move(costs), most);
      if (best.empty() || time < (!first && round == 0 ? kDearer : 1.0) * best_time) {
        best_time = time;
        best_cuts = cuts;
        best = std::move(rows);
      }
      if (balanced) break;
    }
  }

  std::vector<int32_t> order, next;  // rows, the one with the most steps first
  for (size_t number = 0; number < best.size(); ++number) {
    const Rows &rows = best[number];
    Part part;
    part.sequence.assign(by_length.begin() + best_cuts[number], by_length.begin() + best_cuts[number + 1]);
    order.resize(rows.steps.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return rows.steps[a] > rows.steps[b]; });
    std::vector<int32_t> place(order.size());
    for (size_t row = 0; row < order.size(); ++row) place[order[row]] = static_cast<int32_t>(row);
    const auto steps_of = [&](int32_t row) { return rows.steps[order[row]]; };
    while (part.rows < static_cast<int32_t>(order.size()) && steps_of(part.rows) > 0) ++part.rows;
    const int64_t steps = part.rows > 0 ? steps_of(0) : 0;
    int32_t live = part.rows;
    for (int64_t at = 0; at < steps; ++at) {
      while (steps_of(live - 1) <= at) --live;
      part.live.push_back(live);
      part.first_token.push_back(part.tokens);
      part.tokens += live;
    }
    part.token.reset(new Token[static_cast<size_t>(part.tokens)]);
    next.assign(order.size(), 0);  // the first free step of each row
    for (size_t i = 0; i < part.sequence.size(); ++i) {
      const int32_t sequence = part.sequence[i], row = place[rows.row[i]];
      if (length[sequence] == 0) continue;
      part.begins.push_back({next[row], row, sequence});
      const int32_t *step = part.first_token.data() + next[row];
      Token *const token = part.token.get() + row;
      const int32_t last = valid.first_run[sequence + 1] - 1;
      for (int32_t at = valid.first_run[sequence]; at <= last; ++at) {
        const ValidSteps::Run run = valid.runs[at];
        const int32_t until = at < last ? valid.runs[at + 1].begin : static_cast<int32_t>(T);
        for (int32_t k = run.begin; k + 1 < run.end; ++k) token[*step++] = {sequence, k, k + 1};
        token[*step++] = {sequence, run.end - 1, until};
      }
      next[row] += length[sequence];
      part.ends.push_back({next[row] - 1, row, sequence});
    }
    const auto by_step = [](const Event &a, const Event &b) { return a.step < b.step; };
    std::stable_sort(part.begins.begin(), part.begins.end(), by_step);
    std::stable_sort(part.ends.begin(), part.ends.end(), by_step);
    for (int32_t at = 0; at < static_cast<int32_t>(steps);) {
      Chunk chunk{at, at, part.first_token[at], 0};
      while (chunk.end_step < steps &&
             (chunk.tokens == 0 || chunk.tokens + part.live[chunk.end_step] <= kChunkTokens)) {
        chunk.tokens += part.live[chunk.end_step++];
      }
      at = chunk.end_step;
      part.most_tokens = std::max(part.most_tokens, chunk.tokens);
      part.chunk.push_back(chunk);
    }
    shards_.push_back(std::move(part));
  }
  std::stable_sort(shards_.begin(), shards_.end(),
                   [](const Part &a, const Part &b) { return a.tokens > b.tokens; });
}

Shard Schedule::shard(int number) const {
  const Part &part = shards_[static_cast<size_t>(number)];
  Shard shard;
  shard.rows = part.rows;
  shard.steps = static_cast<int32_t>(part.live.size());
  shard.tokens = part.tokens;
  shard.chunks = static_cast<int32_t>(part.chunk.size());
  shard.sequences = static_cast<int32_t>(part.sequence.size());
  shard.most_tokens = part.most_tokens;
  shard.live = part.live.data();
  shard.first_token = part.first_token.data();
  shard.token = part.token.get();
  shard.chunk = part.chunk.data();
  shard.begins = part.begins.data();
  shard.ends = part.ends.data();
  shard.events = static_cast<int32_t>(part.begins.size());
  shard.sequence = part.sequence.data();
  return shard;
}

size_t Schedule::bytes() const {
  size_t sum = 0;
  for (const Part &part : shards_) {
    sum += static_cast<size_t>(part.tokens) * sizeof(Token) + 2 * part.live.size() * sizeof(int32_t) +
           (part.begins.size() + part.ends.size()) * sizeof(Event) + part.sequence.size() * sizeof(int32_t);
  }
  return sum;
}

}  // namespace tt
