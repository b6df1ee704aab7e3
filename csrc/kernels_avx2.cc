// AVX2 and FMA: compiled with -mavx2 -mfma, called only where the processor has them.
#include <immintrin.h>

#include "kernels.h"

#define TT_LANES 8
#define TT_TILE_ROWS 6
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

const Kernels kAvx2Kernels{forward, backward, multiply_adds};

}  // namespace tt
