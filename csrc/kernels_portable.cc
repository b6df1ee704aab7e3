// Plain C++ with vectors of four, which every 64-bit processor has: SSE2, or NEON on aarch64.

#include "kernels.h"

#define TT_LANES 4
#define TT_TILE_ROWS 4
#define TT_TILE_VECTORS 2
#define TT_SUM_ROWS 4
#define TT_LAMBDA_INLINE __attribute__((always_inline))

namespace tt {
namespace {

#include "simd.h"

#include "gemm.h"

#include "cells.h"

#include "plan.h"

#include "forward.h"

#include "backward.h"

#include "sweep.h"

}  // namespace

const Kernels kPortableKernels{forward, backward, multiply_adds};

}  // namespace tt
