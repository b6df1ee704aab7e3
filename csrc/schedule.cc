// Sequences are sorted by length and cut into shards of about equal numbers of valid steps, so that a shard's sequences
// are of like length. Within a shard each sequence is laid into the row that is free first: a row that has ended its
// sequence begins the next one, while the others go on. So the number of rows that work together stays the same until
// the end, where lockstep over the batch would thin out to its longest sequence alone.
#include "schedule.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>

namespace tt {
namespace {

// What a step costs besides its rows, in rows: reading the weights. From benchmarks/layers.py's scaling part.
constexpr double kStepCost = 3.0;
// More rows at once leave the cache; fewer read the weights too often.
constexpr int kMostRows = 42;
// Steps worked on together: gates and states of so many tokens are to stay in the second-level cache.
constexpr int kChunkTokens = 256;
// Below so many steps a shard is not worth a thread.
constexpr int64_t kLeastTokens = 48;

struct Lengths {
  std::vector<int32_t> length;     // valid steps of each sequence
  std::vector<int32_t> by_length;  // sequences, the longest first, equal ones in their order
};

// The rows of a shard: which sequences each works on, one after the other.
struct Rows {
  std::vector<std::vector<int32_t>> sequences;
  std::vector<int64_t> steps;  // of each row; the most first
};

Rows laid_into(int rows, const int32_t *begin, const int32_t *end, const std::vector<int32_t> &length) {
  using Free = std::pair<int64_t, int>;  // steps taken so far, row
  std::priority_queue<Free, std::vector<Free>, std::greater<Free>> free;
  std::vector<std::vector<int32_t>> sequences(static_cast<size_t>(rows));
  std::vector<int64_t> steps(static_cast<size_t>(rows), 0);
  for (int row = 0; row < rows; ++row) free.emplace(0, row);
  for (const int32_t *at = begin; at != end; ++at) {
    const int row = free.top().second;
    free.pop();
    sequences[row].push_back(*at);
    steps[row] += length[*at];
    free.emplace(steps[row], row);
  }
  std::vector<int> order(static_cast<size_t>(rows));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return steps[a] > steps[b]; });
  Rows laid;
  for (const int row : order) {
    laid.sequences.push_back(std::move(sequences[row]));
    laid.steps.push_back(steps[row]);
  }
  return laid;
}

// In rows: each row's steps, and what each step costs by itself.
double cost(const Rows &rows) {
  double sum = rows.steps.empty() ? 0 : kStepCost * static_cast<double>(rows.steps[0]);
  for (const int64_t steps : rows.steps) sum += static_cast<double>(steps);
  return sum;
}

Rows best_rows(const int32_t *begin, const int32_t *end, const std::vector<int32_t> &length) {
  int64_t tokens = 0, longest = 1;
  for (const int32_t *at = begin; at != end; ++at) {
    tokens += length[*at];
    longest = std::max<int64_t>(longest, length[*at]);
  }
  const int most = static_cast<int>(std::min<int64_t>(kMostRows, end - begin));
  // As many as keep all rows busy for as long as the longest sequence takes; a few more where they do not fit so well.
  const int least = static_cast<int>(std::min<int64_t>(most, (tokens + longest - 1) / longest));
  Rows best = laid_into(std::max(least, 1), begin, end, length);
  for (int rows = least + 1; rows <= std::min(most, least + 4); ++rows) {
    Rows other = laid_into(rows, begin, end, length);
    if (cost(other) < cost(best)) best = std::move(other);
  }
  return best;
}

using Cuts = std::vector<int32_t>;  // where shards begin in by_length, and the end

Cuts cut(int shards, const std::vector<int32_t> &by_length, const std::vector<int32_t> &length, int64_t tokens) {
  Cuts cuts{0};
  int64_t sum = 0;
  for (size_t at = 0; at < by_length.size(); ++at) {
    const int64_t before = sum, target = tokens * static_cast<int64_t>(cuts.size()) / shards;
    sum += length[by_length[at]];
    // The cut goes to that side of a sequence that is nearer to the target.
    if (static_cast<int>(cuts.size()) < shards && sum > target) {
      const bool after = sum - target < target - before || static_cast<int32_t>(at) == cuts.back();
      const int32_t place = static_cast<int32_t>(at) + (after ? 1 : 0);
      if (place > cuts.back() && place < static_cast<int32_t>(by_length.size())) cuts.push_back(place);
    }
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

Schedule::Schedule(const tt_problem &problem, const uint8_t *mask, int threads) {
  const int64_t B = problem.batch, T = problem.steps;
  std::vector<int32_t> length(static_cast<size_t>(B), static_cast<int32_t>(T));
  if (mask != nullptr) {
    for (int64_t b = 0; b < B; ++b) {
      int32_t valid = 0;
      for (int64_t t = 0; t < T; ++t) valid += mask[b * T + t] != 0;
      length[b] = valid;
    }
  }
  std::vector<int32_t> by_length(static_cast<size_t>(B));
  std::iota(by_length.begin(), by_length.end(), 0);
  std::stable_sort(by_length.begin(), by_length.end(), [&](int32_t a, int32_t b) { return length[a] > length[b]; });
  tokens_ = std::accumulate(length.begin(), length.end(), int64_t{0});

  // As many shards as threads, or twice as many: a thread on a busy core then takes fewer. That is worth a few percent.
  const int most = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, tokens_ / kLeastTokens)));
  Cuts best_cuts;
  std::vector<Rows> best;
  double best_time = 0;
  for (const int shards : {most, 2 * most}) {
    if (shards > most && (most == 1 || tokens_ / shards < 8 * kLeastTokens)) break;
    const Cuts cuts = cut(shards, by_length, length, tokens_);
    std::vector<Rows> rows;
    std::vector<double> costs;
    for (size_t part = 0; part + 1 < cuts.size(); ++part) {
      rows.push_back(best_rows(by_length.data() + cuts[part], by_length.data() + cuts[part + 1], length));
      costs.push_back(cost(rows.back()));
    }
    const double time = makespan(std::move(costs), most);
    if (best.empty() || time < 1.03 * best_time) {
      best_time = time;
      best_cuts = cuts;
      best = std::move(rows);
    }
  }

  std::vector<int32_t> valid;  // the valid steps of one sequence
  for (size_t number = 0; number < best.size(); ++number) {
    const Rows &rows = best[number];
    Part part;
    part.sequence.assign(by_length.begin() + best_cuts[number], by_length.begin() + best_cuts[number + 1]);
    while (part.rows < static_cast<int32_t>(rows.steps.size()) && rows.steps[part.rows] > 0) ++part.rows;
    const int64_t steps = part.rows > 0 ? rows.steps[0] : 0;
    int32_t live = part.rows, tokens = 0;
    for (int64_t step = 0; step < steps; ++step) {
      while (rows.steps[live - 1] <= step) --live;
      part.live.push_back(live);
      part.first_token.push_back(tokens);
      tokens += live;
    }
    part.token.resize(static_cast<size_t>(tokens));
    for (int32_t row = 0; row < part.rows; ++row) {
      int32_t step = 0;
      for (const int32_t sequence : rows.sequences[row]) {
        if (length[sequence] == 0) continue;
        valid.clear();
        for (int64_t k = 0; k < T; ++k) {
          const int64_t t = problem.reverse ? T - 1 - k : k;
          if (mask == nullptr || mask[sequence * T + t] != 0) valid.push_back(static_cast<int32_t>(k));
        }
        part.begins.push_back({step, row, sequence});
        for (size_t i = 0; i < valid.size(); ++i, ++step) {
          const int32_t until = i + 1 < valid.size() ? valid[i + 1] : static_cast<int32_t>(T);
          part.token[part.first_token[step] + row] = {sequence, valid[i], until};
        }
        part.ends.push_back({step - 1, row, sequence});
      }
    }
    const auto by_step = [](const Event &a, const Event &b) { return a.step < b.step; };
    std::stable_sort(part.begins.begin(), part.begins.end(), by_step);
    std::stable_sort(part.ends.begin(), part.ends.end(), by_step);
    for (int32_t step = 0; step < static_cast<int32_t>(steps);) {
      Chunk chunk{step, step, part.first_token[step], 0};
      while (chunk.end_step < steps &&
             (chunk.tokens == 0 || chunk.tokens + part.live[chunk.end_step] <= kChunkTokens)) {
        chunk.tokens += part.live[chunk.end_step++];
      }
      step = chunk.end_step;
      part.most_tokens = std::max(part.most_tokens, chunk.tokens);
      part.chunk.push_back(chunk);
    }
    shards_.push_back(std::move(part));
  }
  std::stable_sort(shards_.begin(), shards_.end(),
                   [](const Part &a, const Part &b) { return a.token.size() > b.token.size(); });
}

Shard Schedule::shard(int number) const {
  const Part &part = shards_[static_cast<size_t>(number)];
  Shard shard;
  shard.rows = part.rows;
  shard.steps = static_cast<int32_t>(part.live.size());
  shard.tokens = static_cast<int32_t>(part.token.size());
  shard.chunks = static_cast<int32_t>(part.chunk.size());
  shard.sequences = static_cast<int32_t>(part.sequence.size());
  shard.most_tokens = part.most_tokens;
  shard.live = part.live.data();
  shard.first_token = part.first_token.data();
  shard.token = part.token.data();
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
    sum += part.token.size() * sizeof(Token) + 2 * part.live.size() * sizeof(int32_t) +
           (part.begins.size() + part.ends.size()) * sizeof(Event) + part.sequence.size() * sizeof(int32_t);
  }
  return sum;
}

}  // namespace tt
