// From a mask to the order of work: which valid steps are computed together, and by whom.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels.h"

namespace tt {

class Schedule {
 public:
  // Depends on the problem, the mask and the number of threads alone, so that results are repeated bit for bit.
  Schedule(const tt_problem &problem, const uint8_t *mask, int threads);

  int shards() const { return static_cast<int>(shards_.size()); }
  Shard shard(int number) const;  // the largest first
  int64_t tokens() const { return tokens_; }
  size_t bytes() const;

 private:
  struct Part {
    int32_t rows = 0, most_tokens = 0;
    std::vector<int32_t> live, first_token, sequence;
    std::vector<Token> token;
    std::vector<Chunk> chunk;
    std::vector<Event> begins, ends;
  };

  std::vector<Part> shards_;
  int64_t tokens_ = 0;
};

}  // namespace tt
