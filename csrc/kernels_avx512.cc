// AVX-512 (F, VL, DQ, BW): compiled for it, called only where the processor has it.
#include <immintrin.h>

#include "kernels.h"

#define TT_LANES 16
#define TT_TILE_ROWS 14
#define TT_TILE_VECTORS 2
#define TT_SUM_ROWS 8
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

const Kernels kAvx512Kernels{forward, backward, multiply_adds};

}  // namespace tt
