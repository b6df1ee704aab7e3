// Norms of dL/dh that backward passes leave behind, for who asks later: a training step that is compiled as a whole has
// no other way to hand them out.
#pragma once

#include <cstdint>
#include <vector>

#include "throughtime.h"

namespace tt {

// Whether a pass with this tap has norms to leave: 0 and shut taps have not.
bool is_open(int32_t tap);

// `norms` is (batch, steps). Throws std::bad_alloc.
void leave_at_tap(const tt_problem &problem, const uint8_t *mask, std::vector<float> norms, int32_t tap);

}  // namespace tt
