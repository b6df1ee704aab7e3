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
#elif TT_LANES == 8
TT_INLINE V splat(float x) { return _mm256_set1_ps(x); }
TT_INLINE V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
TT_INLINE V clamp(V x, float low, float high) { return _mm256_min_ps(splat(high), _mm256_max_ps(splat(low), x)); }
TT_INLINE V reciprocal(V d) { return splat(1.0f) / d; }
#else
TT_INLINE V splat(float x) { return V{x, x, x, x}; }
TT_INLINE V fma(V a, V b, V c) { return a * b + c; }
TT_INLINE V clamp(V x, float low, float high) {
  x = x < splat(low) ? splat(low) : x;
  return x > splat(high) ? splat(high) : x;
}
TT_INLINE V reciprocal(V d) { return splat(1.0f) / d; }
#endif

// 2^z = 2^n * 2^r, n whole: returns 2^n, sets r in [-1/2, 1/2]. Adding 1.5 * 2^23 rounds, and leaves n in the low bits.
TT_INLINE V power_of_two(V x, float log2_base, V &r) {
  const V magic = splat(12582912.0f), shifted = fma(x, splat(log2_base), magic), n = shifted - magic;
  r = fma(x, splat(log2_base), -n);
  VI bits;
  __builtin_memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127) << 23;  // of 1.5 * 2^23 nothing is left after the shift
  V power;
  __builtin_memcpy(&power, &bits, sizeof power);
  return power;
}

// 2^r - 1 for r in [-1/2, 1/2]; r times a minimax polynomial of degree 5, so that small r keep their digits: 2e-8.
TT_INLINE V power_less_one(V r) {
  V q = splat(1.540351277e-4f);
  q = fma(q, r, splat(1.339073548e-3f));
  q = fma(q, r, splat(9.618237494e-3f));
  q = fma(q, r, splat(5.550357434e-2f));
  q = fma(q, r, splat(2.402264979e-1f));
  q = fma(q, r, splat(6.931471879e-1f));
  return q * r;
}

TT_INLINE V sigmoid(V x) {
  x = clamp(x, -87.0f, 87.0f);  // e^87 is finite
  V r;
  const V power = power_of_two(x, -1.44269504f, r);
  return reciprocal(fma(power, power_less_one(r), power + splat(1.0f)));
}

TT_INLINE V tanh(V x) {
  x = clamp(x, -9.02f, 9.02f);  // beyond, tanh is 1 in float32
  V r;
  const V power = power_of_two(x, 2.88539008f, r);
  const V less_one = fma(power, power_less_one(r), power - splat(1.0f));  // e^2x - 1
  return less_one * reciprocal(less_one + splat(2.0f));
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
