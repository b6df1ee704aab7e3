// What each cell does with its gates, a panel of 16 units at a time. Included after simd.h by kernels_*.cc alone.
// Slots are those of layout_of; the activated gates, and in a backward pass their gradients, replace what was there.
#pragma once

// LSTM (Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000): i, f, g, o.
// c' = f c + i g, h' = o tanh(c')
struct Lstm {
  static constexpr bool kHasCell = true;

  static void forward(int rows, float *gates, const float *, float *c, float *h, float *c_before) {
    for (int row = 0; row < rows; ++row) {
      for (int j = 0; j < 16; j += TT_LANES) {
        float *gate = gates + row * 64 + j;
        const V i = sigmoid(load(gate)), f = sigmoid(load(gate + 16));
        const V g = tanh(load(gate + 32)), o = sigmoid(load(gate + 48));
        const V before = load(c + row * 16 + j), after = fma(f, before, i * g);
        store(c + row * 16 + j, after);
        store(h + row * 16 + j, o * tanh(after));
        if (c_before != nullptr) {
          store(c_before + row * 16 + j, before);
          store(gate, i);
          store(gate + 16, f);
          store(gate + 32, g);
          store(gate + 48, o);
        }
      }
    }
  }

  // dh and dc in: of the state after the step; dc out: of the state before it. dh before the step is a matrix product.
  static void backward(int rows, float *gates, const float *, const float *c_before, float *dh, float *dc) {
    const V one = splat(1.0f);
    for (int row = 0; row < rows; ++row) {
      for (int j = 0; j < 16; j += TT_LANES) {
        float *gate = gates + row * 64 + j;
        const V i = load(gate), f = load(gate + 16), g = load(gate + 32), o = load(gate + 48);
        const V before = load(c_before + row * 16 + j), d = load(dh + row * 16 + j);
        const V t = tanh(fma(f, before, i * g));
        const V dcell = fma(d * o, fma(-t, t, one), load(dc + row * 16 + j));
        store(gate, dcell * g * i * (one - i));
        store(gate + 16, dcell * before * f * (one - f));
        store(gate + 32, dcell * i * fma(-g, g, one));
        store(gate + 48, d * t * o * (one - o));
        store(dc + row * 16 + j, dcell * f);
      }
    }
  }
};

// GRU with reset_after (Keras's default and cuDNN's variant of Cho et al. 2014): n, z, r, and h's part of n.
// n = tanh(xn + r hn), h' = z h + (1 - z) n
struct Gru {
  static constexpr bool kHasCell = false;

  static void forward(int rows, float *gates, const float *before, float *, float *h, float *) {
    for (int row = 0; row < rows; ++row) {
      for (int j = 0; j < 16; j += TT_LANES) {
        float *gate = gates + row * 64 + j;
        const V z = sigmoid(load(gate + 16)), r = sigmoid(load(gate + 32));
        const V n = tanh(fma(r, load(gate + 48), load(gate)));
        store(gate, n);
        store(gate + 16, z);
        store(gate + 32, r);
        store(h + row * 16 + j, fma(z, load(before + row * 16 + j) - n, n));
      }
    }
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
        const V r = sigmoid(load(gate + 32));
        store(gate + 16, sigmoid(load(gate + 16)));
        store(gate + 32, r);
        store(gate + 48, r * load(before + row * 16 + j));
      }
    }
  }

  static void forward(int rows, float *gates, const float *before, float *, float *h, float *) {
    for (int row = 0; row < rows; ++row) {
      for (int j = 0; j < 16; j += TT_LANES) {
        float *gate = gates + row * 64 + j;
        const V n = tanh(load(gate));
        store(gate, n);
        store(h + row * 16 + j, fma(load(gate + 16), load(before + row * 16 + j) - n, n));
      }
    }
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
    for (int row = 0; row < rows; ++row) {
      for (int j = 0; j < 16; j += TT_LANES) {
        const V x = load(gates + row * 16 + j);
        // not `x > 0 ? x : 0`: NaN is to stay NaN
        const V out = RELU ? (x < V{} ? V{} : x) : tanh(x);
        store(gates + row * 16 + j, out);
        store(h + row * 16 + j, out);
      }
    }
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
