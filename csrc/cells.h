// What each cell does with its gates, a panel of 16 units at a time. Included after simd.h by kernels_*.cc alone.
// Slots are those of layout_of; the activated gates, and in a backward pass their gradients, replace what was there.
#pragma once

template <int N>
struct Count {
  static constexpr int kN = N;
};

// Calls each(count, row, j) for the vectors at column j of 4 rows at a time, and of the last ones singly.
template <class Each>
TT_INLINE void by_fours(int rows, Each each) {
  int row = 0;
  for (; row + 4 <= rows; row += 4) {
    for (int j = 0; j < 16; j += TT_LANES) each(Count<4>{}, row, j);
  }
  for (; row < rows; ++row) {
    for (int j = 0; j < 16; j += TT_LANES) each(Count<1>{}, row, j);
  }
}

// LSTM (Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000): i, f, g, o.
// c' = f c + i g, h' = o tanh(c')
struct Lstm {
  static constexpr bool kHasCell = true;

  static void forward(int rows, float *gates, const float *, float *c, float *h, float *c_before) {
    for (int row = 0; row < rows; ++row) {
      for (int j = 0; j < 16; j += TT_LANES) {
        float *gate = gates + row * 64 + j;
        V s[3] = {load(gate), load(gate + 16), load(gate + 48)}, g[1] = {load(gate + 32)};
        sigmoid(s);
        tanh(g);
        const V before = load(c + row * 16 + j);
        if (c_before != nullptr) store(c_before + row * 16 + j, before);
        store(c + row * 16 + j, fma(s[1], before, s[0] * g[0]));
        store(gate, s[0]);
        store(gate + 16, s[1]);
        store(gate + 32, g[0]);
        store(gate + 48, s[2]);
      }
    }
    by_fours(rows, [&](auto count, int row, int j) TT_LAMBDA_INLINE {
      constexpr int kN = decltype(count)::kN;
      V t[kN];
      TT_EACH(kN) t[n] = load(c + (row + n) * 16 + j);
      tanh(t);
      TT_EACH(kN) store(h + (row + n) * 16 + j, load(gates + (row + n) * 64 + 48 + j) * t[n]);
    });
  }

  // dh and dc in: of the state after the step; dc out: of the state before it. dh before the step is a matrix product.
  static void backward(int rows, float *gates, const float *, const float *c_before, float *dh, float *dc) {
    const V one = splat(1.0f);
    by_fours(rows, [&](auto count, int row, int j) TT_LAMBDA_INLINE {
      constexpr int kN = decltype(count)::kN;
      V t[kN];
      TT_EACH(kN) {
        const float *gate = gates + (row + n) * 64 + j;
        t[n] = fma(load(gate + 16), load(c_before + (row + n) * 16 + j), load(gate) * load(gate + 32));
      }
      tanh(t);
      TT_EACH(kN) {
        float *gate = gates + (row + n) * 64 + j;
        const V i = load(gate), f = load(gate + 16), g = load(gate + 32), o = load(gate + 48);
        const V d = load(dh + (row + n) * 16 + j);
        const V dcell = fma(d * o, fma(-t[n], t[n], one), load(dc + (row + n) * 16 + j));
        store(gate, dcell * g * i * (one - i));
        store(gate + 16, dcell * load(c_before + (row + n) * 16 + j) * f * (one - f));
        store(gate + 32, dcell * i * fma(-g, g, one));
        store(gate + 48, d * t[n] * o * (one - o));
        store(dc + (row + n) * 16 + j, dcell * f);
      }
    });
  }
};

// What both GRUs end with: n, until now without its tanh, and h' = z h + (1 - z) n.
template <int N>
TT_INLINE void gru_output(float *gates, const float *before, float *h) {
  V t[N];
  TT_EACH(N) t[n] = load(gates + n * 64);
  tanh(t);
  TT_EACH(N) {
    store(gates + n * 64, t[n]);
    store(h + n * 16, fma(load(gates + n * 64 + 16), load(before + n * 16) - t[n], t[n]));
  }
}

// GRU with reset_after (Keras's default and cuDNN's variant of Cho et al. 2014): n, z, r, and h's part of n.
// n = tanh(xn + r hn), h' = z h + (1 - z) n
struct Gru {
  static constexpr bool kHasCell = false;

  static void forward(int rows, float *gates, const float *before, float *, float *h, float *) {
    for (int row = 0; row < rows; ++row) {
      for (int j = 0; j < 16; j += TT_LANES) {
        float *gate = gates + row * 64 + j;
        V s[2] = {load(gate + 16), load(gate + 32)};
        sigmoid(s);
        store(gate + 16, s[0]);
        store(gate + 32, s[1]);
        store(gate, fma(s[1], load(gate + 48), load(gate)));
      }
    }
    by_fours(rows, [&](auto count, int row, int j) TT_LAMBDA_INLINE {
      gru_output<decltype(count)::kN>(gates + row * 64 + j, before + row * 16 + j, h + row * 16 + j);
    });
  }

  // dh in: of the state after the step; out: the part of the state before it that does not go through a matrix product.
  static void backward(int rows, float *gates, const float *before, const float *, float *dh, float *) {
    const V one = splat(1.0f);
    for (int row = 0; row < rows; ++row) {
      for (int j = 0; j < 16; j += TT_LANES) {
        float *gate = gates + row * 64 + j;
        const V n = load(gate), z = load(gate + 16), r = load(gate + 32), hn = load(gate + 48);
        const V d = load(dh + row * 16 + j);
        const V dn = d * (one - z) * fma(-n, n, one);
        store(gate, dn);
        store(gate + 16, d * (load(before + row * 16 + j) - n) * z * (one - z));
        store(gate + 32, dn * hn * r * (one - r));
        store(gate + 48, dn * r);
        store(dh + row * 16 + j, d * z);
      }
    }
  }
};

// GRU with reset before the product (Cho et al. 2014; Keras's reset_after=False): n, z, r, and r h.
// n = tanh(xn + (r h) Rn), so each direction has two halves with a matrix product between them.
struct GruResetBefore {
  static constexpr bool kHasCell = false;

  static void reset(int rows, float *gates, const float *before) {
    for (int row = 0; row < rows; ++row) {
      for (int j = 0; j < 16; j += TT_LANES) {
        float *gate = gates + row * 64 + j;
        V s[2] = {load(gate + 16), load(gate + 32)};
        sigmoid(s);
        store(gate + 16, s[0]);
        store(gate + 32, s[1]);
        store(gate + 48, s[1] * load(before + row * 16 + j));
      }
    }
  }

  static void forward(int rows, float *gates, const float *before, float *, float *h, float *) {
    by_fours(rows, [&](auto count, int row, int j) TT_LAMBDA_INLINE {
      gru_output<decltype(count)::kN>(gates + row * 64 + j, before + row * 16 + j, h + row * 16 + j);
    });
  }

  static void backward(int rows, float *gates, const float *before, const float *, float *dh, float *) {
    const V one = splat(1.0f);
    for (int row = 0; row < rows; ++row) {
      for (int j = 0; j < 16; j += TT_LANES) {
        float *gate = gates + row * 64 + j;
        const V n = load(gate), z = load(gate + 16), d = load(dh + row * 16 + j);
        store(gate, d * (one - z) * fma(-n, n, one));
        store(gate + 16, d * (load(before + row * 16 + j) - n) * z * (one - z));
        store(dh + row * 16 + j, d * z);
      }
    }
  }

  // dreset: the gradient of r h.
  static void reset_backward(int rows, float *gates, const float *before, const float *dreset, float *dh) {
    const V one = splat(1.0f);
    for (int row = 0; row < rows; ++row) {
      for (int j = 0; j < 16; j += TT_LANES) {
        float *gate = gates + row * 64 + j;
        const V r = load(gate + 32), d = load(dreset + row * 16 + j);
        store(gate + 32, d * load(before + row * 16 + j) * r * (one - r));
        store(dh + row * 16 + j, fma(d, r, load(dh + row * 16 + j)));
      }
    }
  }
};

// SimpleRNN (Elman 1990). h' = tanh(x + h R), or relu.
template <bool RELU>
struct SimpleRnn {
  static constexpr bool kHasCell = false;

  static void forward(int rows, float *gates, const float *, float *, float *h, float *) {
    by_fours(rows, [&](auto count, int row, int j) TT_LAMBDA_INLINE {
      constexpr int kN = decltype(count)::kN;
      V x[kN];
      TT_EACH(kN) x[n] = load(gates + (row + n) * 16 + j);
      if constexpr (RELU) {
        TT_EACH(kN) x[n] = x[n] < V{} ? V{} : x[n];  // not `x > 0 ? x : 0`: NaN is to stay NaN
      } else {
        tanh(x);
      }
      TT_EACH(kN) {
        store(gates + (row + n) * 16 + j, x[n]);
        store(h + (row + n) * 16 + j, x[n]);
      }
    });
  }

  static void backward(int rows, float *gates, const float *, const float *, float *dh, float *) {
    for (int row = 0; row < rows; ++row) {
      for (int j = 0; j < 16; j += TT_LANES) {
        const V h = load(gates + row * 16 + j), d = load(dh + row * 16 + j);
        store(gates + row * 16 + j, RELU ? (h > V{} ? d : V{}) : d * fma(-h, h, splat(1.0f)));
      }
    }
  }
};

// minGRU and minLSTM (Feng et al. 2024): gates that see the input alone. `open` activates those of a whole chunk, before
// its steps are taken.

// What becomes of the candidate n: nothing, tanh, or the paper's positive function, n + 1/2 where n >= 0, else sigmoid(n).
enum class Candidate { kPlain, kTanh, kPositive };

TT_INLINE Candidate candidate_of(int32_t cell) {
  if (cell == TT_MIN_GRU_TANH || cell == TT_MIN_LSTM_TANH) return Candidate::kTanh;
  return cell == TT_MIN_GRU_G || cell == TT_MIN_LSTM_G ? Candidate::kPositive : Candidate::kPlain;
}

template <int N>
TT_INLINE void activate(Candidate candidate, V (&x)[N]) {
  if (candidate == Candidate::kTanh) tanh(x);
  if (candidate != Candidate::kPositive) return;
  V below[N];
  TT_EACH(N) below[n] = x[n];
  sigmoid(below);
  TT_EACH(N) x[n] = x[n] < V{} ? below[n] : x[n] + splat(0.5f);  // NaN stays NaN
}

// The derivative at the activated candidate y.
TT_INLINE V slope(Candidate candidate, V y) {
  const V one = splat(1.0f);
  if (candidate == Candidate::kTanh) return fma(-y, y, one);
  if (candidate == Candidate::kPositive) return y < splat(0.5f) ? y * (one - y) : one;
  return one;
}

// h' = h + s (n - h): from a token's gates of WIDE floats, of which those at SHARE and AT are s and n. With s and not
// 1 - s, which keeps few digits of a small s, that is of a long memory.
template <int WIDE, int SHARE, int AT>
TT_INLINE void interpolate(int rows, const float *gates, const float *before, float *h) {
  for (int row = 0; row < rows; ++row) {
    for (int j = 0; j < 16; j += TT_LANES) {
      const float *gate = gates + row * WIDE + j;
      const V was = load(before + row * 16 + j);
      store(h + row * 16 + j, fma(load(gate + SHARE), load(gate + AT) - was, was));
    }
  }
}

// z, n: h' = (1 - z) h + z n.
struct MinGru {
  static constexpr bool kHasCell = false;

  static void open(Candidate candidate, int tokens, float *gates) {
    by_fours(tokens, [&](auto count, int token, int j) TT_LAMBDA_INLINE {
      constexpr int kN = decltype(count)::kN;
      float *gate = gates + token * 32 + j;
      V z[kN], x[kN];
      TT_EACH(kN) z[n] = load(gate + n * 32);
      TT_EACH(kN) x[n] = load(gate + n * 32 + 16);
      sigmoid(z);
      activate(candidate, x);
      TT_EACH(kN) store(gate + n * 32, z[n]);
      TT_EACH(kN) store(gate + n * 32 + 16, x[n]);
    });
  }

  static void forward(int rows, float *gates, const float *before, float *, float *h, float *) {
    interpolate<32, 0, 16>(rows, gates, before, h);
  }

  static void backward(Candidate candidate, int rows, float *gates, const float *before, float *dh) {
    const V one = splat(1.0f);
    for (int row = 0; row < rows; ++row) {
      for (int j = 0; j < 16; j += TT_LANES) {
        float *gate = gates + row * 32 + j;
        const V z = load(gate), y = load(gate + 16), d = load(dh + row * 16 + j), dy = d * z;
        store(gate, dy * (y - load(before + row * 16 + j)) * (one - z));
        store(gate + 16, dy * slope(candidate, y));
        store(dh + row * 16 + j, d - dy);
      }
    }
  }
};

// f, i, n, and i' = i / (f + i): h' = f' h + i' n, where f' = 1 - i'. Once activated, f and i hold the derivatives of f'
// by their arguments a and b: f' i' sigmoid(-a) and -f' i' sigmoid(-b).
struct MinLstm {
  static constexpr bool kHasCell = false;

  static void open(Candidate candidate, int tokens, float *gates) {
    for (int token = 0; token < tokens; ++token) {
      for (int j = 0; j < 16; j += TT_LANES) {
        float *gate = gates + token * 64 + j;
        const V a = load(gate), b = load(gate + 16);
        // f' = (1 + e^-b) / (2 + e^-a + e^-b), above and below times e^m: with the least of a, b and 0 for m nothing
        // overflows, and one of the three terms is 1.
        V m = a < b ? a : b;
        m = clamp(m < V{} ? m : V{}, -__FLT_MAX__, 0.0f);  // infinity cannot be taken from infinity
        V e[3] = {m, m - a, m - b}, scale[3], less[2] = {-a, -b}, y[1] = {load(gate + 32)};
        TT_EACH(3) e[n] = clamp(e[n], -87.0f, 0.0f);
        power(e, scale, 1.44269504f);
        TT_EACH(3) e[n] = fma(scale[n], e[n], scale[n]);
        sigmoid(less);
        activate(candidate, y);
        const V inverse = reciprocal(e[0] + e[0] + e[1] + e[2]);
        const V forget = (e[0] + e[2]) * inverse, share = (e[0] + e[1]) * inverse, both = forget * share;
        store(gate, both * less[0]);
        store(gate + 16, -(both * less[1]));
        store(gate + 32, y[0]);
        store(gate + 48, share);
      }
    }
  }

  static void forward(int rows, float *gates, const float *before, float *, float *h, float *) {
    interpolate<64, 48, 32>(rows, gates, before, h);
  }

  static void backward(Candidate candidate, int rows, float *gates, const float *before, float *dh) {
    for (int row = 0; row < rows; ++row) {
      for (int j = 0; j < 16; j += TT_LANES) {
        float *gate = gates + row * 64 + j;
        const V y = load(gate + 32), d = load(dh + row * 16 + j), dy = d * load(gate + 48);
        const V dforget = d * (load(before + row * 16 + j) - y);
        store(gate, dforget * load(gate));
        store(gate + 16, dforget * load(gate + 16));
        store(gate + 32, dy * slope(candidate, y));
        store(dh + row * 16 + j, d - dy);
      }
    }
  }
};

// The recurrence of a linear recurrent unit (Orvieto et al. 2023): s' = lambda s + u, complex. h is the real part of s, c
// the imaginary one; the slots are the parts of u, and in a backward pass those of its gradient.
struct Lru {
  static constexpr bool kHasCell = true;

  static void forward(int rows, const float *gates, const float *factor, const float *before, float *c, float *h,
                      float *c_before) {
    for (int j = 0; j < 16; j += TT_LANES) {
      const V real = load(factor + j), imaginary = load(factor + 16 + j);
      for (int row = 0; row < rows; ++row) {
        const float *gate = gates + row * 32 + j;
        const V a = load(before + row * 16 + j), b = load(c + row * 16 + j);
        if (c_before != nullptr) store(c_before + row * 16 + j, b);
        store(h + row * 16 + j, fma(real, a, fma(-imaginary, b, load(gate))));
        store(c + row * 16 + j, fma(real, b, fma(imaginary, a, load(gate + 16))));
      }
    }
  }

  // The gradient of s before the step is that after it times the conjugate of lambda.
  static void backward(int rows, float *gates, const float *factor, float *dh, float *dc) {
    for (int j = 0; j < 16; j += TT_LANES) {
      const V real = load(factor + j), imaginary = load(factor + 16 + j);
      for (int row = 0; row < rows; ++row) {
        const V a = load(dh + row * 16 + j), b = load(dc + row * 16 + j);
        store(gates + row * 32 + j, a);
        store(gates + row * 32 + 16 + j, b);
        store(dh + row * 16 + j, fma(real, a, imaginary * b));
        store(dc + row * 16 + j, fma(real, b, -imaginary * a));
      }
    }
  }

  // Adds to lambda's gradient that of some tokens: the conjugate of s before a step, times the gradient of s after it.
  static void add_factor(int tokens, const float *gates, const float *before, const float *c_before, float *sum) {
    for (int j = 0; j < 16; j += TT_LANES) {
      V real = V{}, imaginary = V{};
      for (int token = 0; token < tokens; ++token) {
        const V a = load(before + token * 16 + j), b = load(c_before + token * 16 + j);
        const V da = load(gates + token * 32 + j), db = load(gates + token * 32 + 16 + j);
        real = fma(a, da, fma(b, db, real));
        imaginary = fma(a, db, fma(-b, da, imaginary));
      }
      store(sum + j, load(sum + j) + real);
      store(sum + 16 + j, load(sum + 16 + j) + imaginary);
    }
  }
};
