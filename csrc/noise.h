// Counter-based normal noise, the same text for C++ and CUDA: see direct/noise.py, which defines it.
//
// Everything here is integer arithmetic or a correctly rounded operation, so a CPU and a GPU give the
// same bits. A normal costs about 33 machine instructions on sm_90, 27 on sm_100.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define HD __host__ __device__ __forceinline__
#else
#define HD inline __attribute__((always_inline))
#endif

namespace direct {
struct Key {
  uint64_t seed, offset;
};
}  // namespace direct

namespace {  // each instruction set compiles its own copy; the linker must not merge them

using direct::Key;

enum Term : uint32_t { FM, RAND, HARD, ANC };  // FM's noise is eps

HD float fused(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(a, b, c);
#else
  return __builtin_fmaf(a, b, c);
#endif
}

HD float as_float(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
#endif
}

HD uint32_t as_bits(float value) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(value);
#else
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits;
#endif
}

// The unsigned integer, rounded to nearest. CPUs before AVX-512 convert signed ones only: the halves
// are exact, and their fused sum rounds once.
HD float to_float(uint32_t word) {
#if defined(__CUDA_ARCH__)
  return __uint2float_rn(word);
#else
  return fused(float(int32_t(word >> 16)), 65536.0f, float(int32_t(word & 0xffff)));
#endif
}

// Philox4x32-10, `COUNT` counter blocks side by side: words[j] starts as block j's counter.
template <int COUNT>
HD void philox(uint64_t key, uint32_t (*words)[4]) {
  uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
#if defined(__CUDACC__)
#pragma unroll
#else
#pragma GCC unroll 10
#endif
  for (int round = 0; round < 10; ++round) {
#if defined(__CUDACC__)
#pragma unroll
#endif
    for (int j = 0; j < COUNT; ++j) {
      uint32_t* c = words[j];
      const uint64_t p0 = uint64_t(c[0]) * 0xD2511F53u, p1 = uint64_t(c[2]) * 0xCD9E8D57u;
      c[0] = uint32_t(p1 >> 32) ^ c[1] ^ k0;
      c[2] = uint32_t(p0 >> 32) ^ c[3] ^ k1;
      c[1] = uint32_t(p1);
      c[3] = uint32_t(p0);
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

HD void set_counter(Key key, uint64_t block, uint32_t term, uint32_t* words) {
  const uint64_t counter = key.offset + block;
  words[0] = uint32_t(counter), words[1] = uint32_t(counter >> 32), words[2] = term, words[3] = 0;
}

// Two floats, which sm_100 computes with in one instruction that gives the bits of two. On a GPU a counter
// block's two pairs of normals go side by side; a CPU's compiler fills its vectors by itself, from floats.
struct Two {
  float a, b;
  HD Two(float both) : a(both), b(both) {}
  HD Two(float a, float b) : a(a), b(b) {}
};

struct TwoWords {
  uint32_t a, b;
};

HD Two fused(Two x, Two y, Two z) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ / 100 == 10
  asm("{ .reg .b64 x, y, z; mov.b64 x, {%2, %3}; mov.b64 y, {%4, %5}; mov.b64 z, {%6, %7};"
      " fma.rn.f32x2 z, x, y, z; mov.b64 {%0, %1}, z; }"
      : "=f"(z.a), "=f"(z.b)
      : "f"(x.a), "f"(x.b), "f"(y.a), "f"(y.b), "f"(z.a), "f"(z.b));
  return z;
#else
  return {fused(x.a, y.a, z.a), fused(x.b, y.b, z.b)};
#endif
}

HD Two operator*(Two x, Two y) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ / 100 == 10
  asm("{ .reg .b64 x, y; mov.b64 x, {%2, %3}; mov.b64 y, {%4, %5}; mul.rn.f32x2 x, x, y; mov.b64 {%0, %1}, x; }"
      : "=f"(x.a), "=f"(x.b)
      : "f"(x.a), "f"(x.b), "f"(y.a), "f"(y.b));
  return x;
#else
  return {x.a * y.a, x.b * y.b};
#endif
}

HD float square_root(float a) { return __builtin_sqrtf(a); }

// Correctly rounded, for 2^-100 <= a < infinity: on a GPU the fast path of __fsqrt_rn, whose slow path
// (zero, denormals) would cost a branch.
HD Two square_root(Two a) {
#if defined(__CUDA_ARCH__)
  Two r = 0;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(r.a) : "f"(a.a));
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(r.b) : "f"(a.b));
  const Two s = a * r;
  return fused(fused(Two(-s.a, -s.b), s, a), r * 0.5f, s);
#else
  return {square_root(a.a), square_root(a.b)};
#endif
}

// f of u = (1 + f) 2^(scale / 2^23), 1 + f from 1/sqrt(2) to sqrt(2), where u is kept below 1.
HD float reduced(float u, float* scale) {
  constexpr int32_t FROM = 0x3F3504F3, MOST = 0x3F7FFFFF - FROM;
  const int32_t wide = int32_t(as_bits(u)) - FROM, above = wide < MOST ? wide : MOST, power = above & ~0x7fffff;
  *scale = float(power);
  return as_float(uint32_t(above - power + FROM)) - 1.0f;
}

// r, or -r where the nearest half turn is the odd one.
HD float turned(float r, uint32_t word) { return as_float(as_bits(r) ^ ((word + 0x40000000u) & 0x80000000u)); }

// What is left of the angle then: at most pi/2, of which 2^31 is a half turn's half.
HD float remaining(uint32_t word) { return float(int32_t(word << 1)); }

HD Two to_float(TwoWords word) { return {to_float(word.a), to_float(word.b)}; }
HD Two reduced(Two u, Two* scale) { return {reduced(u.a, &scale->a), reduced(u.b, &scale->b)}; }
HD Two turned(Two r, TwoWords word) { return {turned(r.a, word.a), turned(r.b, word.b)}; }
HD Two remaining(TwoWords word) { return {remaining(word.a), remaining(word.b)}; }

// sqrt(-2 ln u), u = (word + 1/2) / 2^32 below 1. `Float` is float or Two, `Word` one word or two.
template <class Float, class Word>
HD Float radius(Word word) {
  const Float u = fused(to_float(word), Float(0x1p-32f), Float(0x1p-33f));
  Float scale = 0.0f;
  const Float f = reduced(u, &scale);
  Float q = fused(Float(-0.1791982352733612f), f, Float(0.28964370489120483f));
  q = fused(q, f, Float(-0.2983475625514984f));
  q = fused(q, f, Float(0.3308747708797455f));
  q = fused(q, f, Float(-0.39916834235191345f));
  q = fused(q, f, Float(0.5000589489936829f));
  q = fused(q, f, Float(-0.6666831970214844f));
  q = fused(q, f, Float(0.9999995827674866f));
  q = fused(q, f, Float(-2.0f));
  return square_root(fused(scale, Float(-1.3862943649291992f * 0x1p-23f), f * q));
}

// Box-Muller: r cos, r sin of the angle 2 pi word / 2^32, taken as a sign (the nearest half turn) and an
// angle of at most pi/2.
template <class Float, class Word>
HD void box_muller(Float r, Word word, Float* r_cosine, Float* r_sine) {
  r = turned(r, word);
  const Float x = remaining(word) * Float(3.1415927410125732f * 0x1p-32f), z = x * x;
  Float s = fused(Float(2.634877318996587e-06f), z, Float(-0.0001982278481591493f));
  s = fused(fused(s, z, Float(0.008333242498338223f)), z, Float(-0.1666666567325592f));
  Float c = fused(Float(-2.6299781552552304e-07f), z, Float(2.477469934092369e-05f));
  c = fused(fused(c, z, Float(-0.0013888654066249728f)), z, Float(0.0416666604578495f));
  *r_cosine = r * fused(fused(c, z, Float(-0.5f)), z, Float(1.0f));
  *r_sine = r * fused(x * z, s, x);
}

// Four words to four normals.
HD void normals(const uint32_t* words, float* out) {
  Two cosine = 0, sine = 0;
  box_muller(radius<Two>(TwoWords{words[0], words[2]}), TwoWords{words[1], words[3]}, &cosine, &sine);
  out[0] = cosine.a, out[1] = sine.a, out[2] = cosine.b, out[3] = sine.b;
}

}  // namespace
