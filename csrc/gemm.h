// Matrix products of a few rows with packed weights: the one place where time is spent. Included after simd.h by
// kernels_*.cc alone.
#pragma once

// A tile of registers is TT_TILE_ROWS rows (fewer where the group is wider) by TT_TILE_VECTORS vectors; with one row for
// the weights and one for a broadcast that fills the registers.

// Where a column group of `tile` times 16 columns lies in C: its 16-column parts are `part` floats apart.
// Where the rows of A lie: row r, column k at a[r * LDA + k % RUN + k / RUN * a_run], so that gates and states are read as
// they were written.

constexpr int kAhead = 32;  // rows of weights that are fetched ahead of their use

enum class Start { kZero, kBias, kAdd };  // what the products are added to

template <int ROWS, int VECTORS, int LDA, int RUN, int LDC, Start START>
TT_INLINE void tile_product(const float *a, size_t a_run, int runs, int rest, const float *b, int ldb, float *c,
                            size_t vector, const float *bias) {
  // Few rows: several sums run side by side, since a chain of dependent multiply-adds is four cycles a link.
  constexpr int kSums = ROWS * VECTORS <= 2 ? 8 : ROWS * VECTORS <= 5 ? 4 : ROWS * VECTORS <= 8 ? 2 : 1;
  V sum[kSums][ROWS][VECTORS];
#pragma GCC unroll 8
  for (int s = 0; s < kSums; ++s) {
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) sum[s][r][v] = V{};
    }
  }
  const auto step = [&](const float *column, int s) TT_LAMBDA_INLINE {
    V weight[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) {
      weight[v] = load(b + v * TT_LANES);
      // Weights beyond the second-level cache are read once a step: 4% at 512 units, nothing lost at 64.
      __builtin_prefetch(b + kAhead * ldb + v * TT_LANES);
    }
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
      const V x = splat(column[r * LDA]);
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) sum[s][r][v] = fma(x, weight[v], sum[s][r][v]);
    }
    b += ldb;
  };
  for (int run = 0; run < runs; ++run, a += a_run) {
    for (int k = 0; k < RUN; k += 8) {
#pragma GCC unroll 8
      for (int u = 0; u < 8; ++u) step(a + k + u, u % kSums);
    }
  }
  for (int k = 0; k < rest; ++k) step(a + k, 0);
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) {
      V total = sum[0][r][v];
#pragma GCC unroll 8
      for (int s = 1; s < kSums; ++s) total += sum[s][r][v];
      // Added last: a sum that began with it would be rounded at its size every time.
      if (START == Start::kAdd) total += load(c + r * LDC + v * vector);
      if (START == Start::kBias) total += load(bias + v * TT_LANES);
      store(c + r * LDC + v * vector, total);
    }
  }
}

// All rows of one group, in tiles of about equal height.
template <int VECTORS, int MOST, int LDA, int RUN, int LDC, Start START>
TT_INLINE void all_rows(int rows, const float *a, size_t a_run, int runs, int rest, const float *b, int ldb, float *c,
                        size_t vector, const float *bias) {
  const int tiles = (rows + MOST - 1) / MOST;
  int first = 0;
  for (int tile = 0; tile < tiles; ++tile) {
    const int many = rows / tiles + (tile < rows % tiles);
    const float *from = a + static_cast<ptrdiff_t>(first) * LDA;
    float *to = c + static_cast<ptrdiff_t>(first) * LDC;
    switch (many) {
#define TT_CASE(N)                                                                                                     \
  case N:                                                                                                              \
    if constexpr (N <= MOST)                                                                                           \
      tile_product<N, VECTORS, LDA, RUN, LDC, START>(from, a_run, runs, rest, b, ldb, to, vector, bias);               \
    break;
      TT_CASE(1) TT_CASE(2) TT_CASE(3) TT_CASE(4) TT_CASE(5) TT_CASE(6) TT_CASE(7)
      TT_CASE(8) TT_CASE(9) TT_CASE(10) TT_CASE(11) TT_CASE(12) TT_CASE(13) TT_CASE(14)
#undef TT_CASE
    }
    first += many;
  }
}

// C[rows, 16 * TILE] from A[rows, runs * RUN + rest] and one column group of packed weights.
template <int TILE, int LDA, int RUN, int LDC, Start START>
void product(int rows, const float *a, size_t a_run, int runs, int rest, const float *b, int ldb, float *c,
             size_t part, const float *bias) {
  constexpr int kVectors = TT_LANES == 16 ? TILE : TT_TILE_VECTORS;
  constexpr int kMost = TT_LANES == 16 && TILE == 3 ? 8 : TT_TILE_ROWS;
  // So many products are summed at once: their weights stay in the first-level cache from tile to tile, and one long sum
  // in float32 would lose digits that a sum of sums keeps.
  constexpr int kAtOnce = 256 / RUN;
  for (int column = 0; column < TILE * 16; column += kVectors * TT_LANES) {
    const float *weights = b + column, *start = START == Start::kBias ? bias + column : nullptr;
    const size_t vector = TT_LANES == 16 ? part : TT_LANES;
    float *columns = TT_LANES == 16 ? c : c + column / 16 * part + column % 16;
    const int first = runs < kAtOnce ? runs : kAtOnce;
    all_rows<kVectors, kMost, LDA, RUN, LDC, START>(rows, a, a_run, first, first == runs ? rest : 0, weights, ldb,
                                                    columns, vector, start);
    for (int run = first; run < runs; run += kAtOnce) {
      const int many = runs - run < kAtOnce ? runs - run : kAtOnce;
      all_rows<kVectors, kMost, LDA, RUN, LDC, Start::kAdd>(
          rows, a + run * a_run, a_run, many, run + many == runs ? rest : 0,
          weights + static_cast<ptrdiff_t>(run) * RUN * ldb, ldb, columns, vector, nullptr);
    }
  }
}

// Sums over tokens of the outer products of 16 columns of A with a column group of B: C[row][ldc] += A[token][row] *
// B[token][column]. A is [token][LDA], B is [token][LDB] with 16-column parts `part` floats apart.
template <int ROWS, int VECTORS, int LDA, int LDB>
TT_INLINE void tile_sum(int tokens, const float *a, const float *b, size_t vector, float *c, int ldc) {
  constexpr int kSums = ROWS * VECTORS <= 2 ? 4 : ROWS * VECTORS <= 6 ? 2 : 1;
  V sum[kSums][ROWS][VECTORS];
#pragma GCC unroll 4
  for (int s = 0; s < kSums; ++s) {
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) sum[s][r][v] = V{};
    }
  }
  const auto step = [&](int t, int s) TT_LAMBDA_INLINE {
    V gate[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) gate[v] = load(b + t * LDB + v * vector);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
      const V x = splat(a[t * LDA + r]);
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) sum[s][r][v] = fma(x, gate[v], sum[s][r][v]);
    }
  };
  int t = 0;
  for (; t + 4 <= tokens; t += 4) {
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) step(t + u, u % kSums);
  }
  for (; t < tokens; ++t) step(t, 0);
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) {
      V total = load(c + r * ldc + v * TT_LANES);
#pragma GCC unroll 4
      for (int s = 0; s < kSums; ++s) total += sum[s][r][v];
      store(c + r * ldc + v * TT_LANES, total);
    }
  }
}

// C[rows, TILE * 16] += transposed(A[tokens, rows]) * B[tokens, TILE * 16]; A is [panel][a_panel floats], [token][LDA].
template <int TILE, int LDA, int LDB>
void outer_sum(int rows, int tokens, const float *a, size_t a_panel, const float *b, size_t part, float *c, int ldc) {
  constexpr int kVectors = TT_LANES == 16 ? TILE : TT_TILE_VECTORS;
  constexpr int kMost = TT_SUM_ROWS;
  for (int column = 0; column < TILE * 16; column += kVectors * TT_LANES) {
    const size_t vector = TT_LANES == 16 ? part : TT_LANES;
    const float *gates = TT_LANES == 16 ? b : b + column / 16 * part + column % 16;
    for (int row = 0; row < rows; row += kMost) {
      const float *from = a + row / 16 * a_panel + row % 16;
      float *to = c + static_cast<ptrdiff_t>(row) * ldc + column;
      switch (rows - row < kMost ? rows - row : kMost) {
#define TT_CASE(N)                                                                                                     \
  case N:                                                                                                              \
    if constexpr (N <= kMost) tile_sum<N, kVectors, LDA, LDB>(tokens, from, gates, vector, to, ldc);                   \
    break;
        TT_CASE(1) TT_CASE(2) TT_CASE(3) TT_CASE(4) TT_CASE(5) TT_CASE(6) TT_CASE(7) TT_CASE(8)
#undef TT_CASE
      }
    }
  }
}
