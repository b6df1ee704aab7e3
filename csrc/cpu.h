// Which instruction sets this processor has, and which one a call uses.
#pragma once

#include <cstdint>

namespace tt {

// One of TT_ISA_PORTABLE, _AVX2, _AVX512 for what was asked (TT_ISA_AUTO: THROUGHTIME_ISA, or the best there is); 0 where
// this processor, or this build, does not have it.
int32_t resolve_isa(int32_t asked);

bool isa_supported(int32_t isa);

// Processors that this process may run on, at least 1; and what a call's `threads` stands for.
int available_processors();
int resolve_threads(int32_t asked);

}  // namespace tt
