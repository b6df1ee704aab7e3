// From a mask to the order of work: which valid steps are computed together, and by whom.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels.h"

namespace tt {

// The valid steps of each sequence, in the order of processing.
struct ValidSteps {
  ValidSteps(const tt_problem &problem, const uint8_t *mask);

  struct Run {
    int32_t begin, end;
  };
  std::vector<Run> runs;           // without a gap each, sequence by sequence
  std::vector<int32_t> first_run;  // (batch + 1)
  std::vector<int32_t> length;     // (batch)
  int64_t tokens = 0;              // all of them
};

class Schedule {
 public:
  // Depends on the problem, the mask and the number of threads alone, so that results are repeated bit for bit.
  Schedule(const tt_problem &problem, const ValidSteps &valid, int threads);

  int shards() const { return static_cast<int>(shards_.size()); }
  Shard shard(int number) const;  // the largest first
  int64_t tokens() const { return tokens_; }
  size_t bytes() const;

 private:
  struct Part {
    int32_t rows = 0, tokens = 0, most_tokens = 0;
    std::vector<int32_t> live, first_token, sequence;
    std::unique_ptr<Token[]> token;  // not a vector, which would be filled with zeros first
    std::vector<Chunk> chunk;
    std::vector<Event> begins, ends;
  };

  std::vector<Part> shards_;
  int64_t tokens_ = 0;
};

}  // namespace tt
