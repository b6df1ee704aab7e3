// Vectors of TT_LANES floats and the functions of the gates, for the instruction set that this file is compiled for.
// Included inside tt's anonymous namespace by kernels_*.cc alone, so that nothing here is shared between them.
#pragma once

// Relative error of sigmoid and tanh: at most 4e-7, and exact at 0 and where they saturate. NaN stays NaN.

typedef float V __attribute__((vector_size(4 * TT_LANES)));
typedef uint32_t VI __attribute__((vector_size(4 * TT_LANES)));
typedef float VUnaligned __attribute__((vector_size(4 * TT_LANES), aligned(4), may_alias));

#define TT_INLINE inline __attribute__((always_inline))

TT_INLINE V load(const float *from) { return *reinterpret_cast<const VUnaligned *>(from); }
TT_INLINE void store(float *to, V v) { *reinterpret_cast<VUnaligned *>(to) = v; }

#if TT_LANES == 16
TT_INLINE V splat(float x) { return _mm512_set1_ps(x); }
TT_INLINE V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
// The second operand is taken where one is NaN.
TT_INLINE V clamp(V x, float low, float high) { return _mm512_min_ps(splat(high), _mm512_max_ps(splat(low), x)); }
// 1 / d for d in [1, 2^126]: the 14-bit estimate and one Newton step, one unit in the last place.
TT_INLINE V reciprocal(V d) {
  const V y = _mm512_rcp14_ps(d);
  return fma(y, _mm512_fnmadd_ps(d, y, splat(1.0f)), y);
}
TT_INLINE float total(V v) { return _mm512_reduce_add_ps(v); }
#elif TT_LANES == 8
TT_INLINE V splat(float x) { return _mm256_set1_ps(x); }
TT_INLINE V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
TT_INLINE V clamp(V x, float low, float high) { return _mm256_min_ps(splat(high), _mm256_max_ps(splat(low), x)); }
TT_INLINE V reciprocal(V d) { return splat(1.0f) / d; }
TT_INLINE float total(V v) { return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])); }
#else
TT_INLINE V splat(float x) { return V{x, x, x, x}; }
TT_INLINE V fma(V a, V b, V c) { return a * b + c; }
TT_INLINE V clamp(V x, float low, float high) {
  x = x < splat(low) ? splat(low) : x;
  return x > splat(high) ? splat(high) : x;
}
TT_INLINE V reciprocal(V d) { return splat(1.0f) / d; }
TT_INLINE float total(V v) { return (v[0] + v[2]) + (v[1] + v[3]); }
#endif

// The functions take several vectors at once and do each operation on all of them: one chain of dependent operations is
// 80 cycles long and leaves most of the units idle.
#define TT_EACH(N) _Pragma("GCC unroll 4") for (int n = 0; n < N; ++n)

// base^x = 2^n * 2^r, n whole: sets `power` to 2^n and x to 2^r - 1, r in [-1/2, 1/2].
template <int N>
TT_INLINE void power(V (&x)[N], V (&power)[N], float log2_base) {
  // Adding 1.5 * 2^23 rounds, and leaves n in the low bits; of 1.5 * 2^23 itself nothing is left after the shift.
  const V magic = splat(12582912.0f);
  V q[N];
  TT_EACH(N) power[n] = fma(x[n], splat(log2_base), magic);
  TT_EACH(N) x[n] = fma(x[n], splat(log2_base), magic - power[n]);
  TT_EACH(N) {
    VI bits;
    __builtin_memcpy(&bits, &power[n], sizeof bits);
    bits = (bits + 127) << 23;
    __builtin_memcpy(&power[n], &bits, sizeof bits);
  }
  // r times a minimax polynomial of degree 5, so that small r keep their digits: 2e-8
  TT_EACH(N) q[n] = fma(x[n], splat(1.540351277e-4f), splat(1.339073548e-3f));
  TT_EACH(N) q[n] = fma(q[n], x[n], splat(9.618237494e-3f));
  TT_EACH(N) q[n] = fma(q[n], x[n], splat(5.550357434e-2f));
  TT_EACH(N) q[n] = fma(q[n], x[n], splat(2.402264979e-1f));
  TT_EACH(N) q[n] = fma(q[n], x[n], splat(6.931471879e-1f));
  TT_EACH(N) x[n] *= q[n];
}

template <int N>
TT_INLINE void sigmoid(V (&x)[N]) {
  V scale[N];
  TT_EACH(N) x[n] = clamp(x[n], -87.0f, 87.0f);  // e^87 is finite
  power(x, scale, -1.44269504f);
  TT_EACH(N) x[n] = fma(scale[n], x[n], scale[n] + splat(1.0f));
  TT_EACH(N) x[n] = reciprocal(x[n]);
}

template <int N>
TT_INLINE void tanh(V (&x)[N]) {
  V scale[N];
  TT_EACH(N) x[n] = clamp(x[n], -9.02f, 9.02f);  // beyond, tanh is 1 in float32
  power(x, scale, 2.88539008f);
  TT_EACH(N) x[n] = fma(scale[n], x[n], scale[n] - splat(1.0f));  // e^2x - 1
  TT_EACH(N) scale[n] = reciprocal(x[n] + splat(2.0f));
  TT_EACH(N) x[n] *= scale[n];
}

// Gradients that vanish through time end in denormals, which cost the processor a hundred cycles each: they are zero here,
// as in XLA. The caller's setting comes back.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : before_(__builtin_ia32_stmxcsr()) { __builtin_ia32_ldmxcsr(before_ | 0x8040); }
  ~FlushDenormals() { __builtin_ia32_ldmxcsr(before_); }

 private:
  unsigned before_;
#elif defined(__aarch64__)
  FlushDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" : : "r"(before_ | (uint64_t{1} << 24)));
  }
  ~FlushDenormals() { asm volatile("msr fpcr, %0" : : "r"(before_)); }

 private:
  uint64_t before_;
#endif
};
