// Counter-based normal noise, the same text for C++ and CUDA: see direct/noise.py, which defines it.
//
// Everything here is integer arithmetic or a correctly rounded operation, so a CPU and a GPU give the
// same bits. A normal costs about 33 machine instructions on a GPU.
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

// Correctly rounded, for 2^-100 <= a < infinity: on a GPU the fast path of __fsqrt_rn, whose slow path
// (zero, denormals) would cost a branch.
HD float square_root(float a) {
#if defined(__CUDA_ARCH__)
  float r;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(a));
  const float s = __fmul_rn(a, r);
  return __fmaf_rn(__fmaf_rn(-s, s, a), __fmul_rn(0.5f, r), s);
#else
  return __builtin_sqrtf(a);
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

// sqrt(-2 ln u), u = (word + 1/2) / 2^32 below 1.
HD float radius(uint32_t word) {
  const float u = fused(to_float(word), 0x1p-32f, 0x1p-33f);
  const uint32_t bits = as_bits(u < 0x0.ffffffp0f ? u : 0x0.ffffffp0f);
  const int32_t exponent = int32_t(bits - 0x3F3504F3u) >> 23;  // u = (1 + f) 2^exponent
  const float f = as_float(bits - (uint32_t(exponent) << 23)) - 1.0f;
  float q = fused(-0.1791982352733612f, f, 0.28964370489120483f);
  q = fused(q, f, -0.2983475625514984f);
  q = fused(q, f, 0.3308747708797455f);
  q = fused(q, f, -0.39916834235191345f);
  q = fused(q, f, 0.5000589489936829f);
  q = fused(q, f, -0.6666831970214844f);
  q = fused(q, f, 0.9999995827674866f);
  q = fused(q, f, -2.0f);
  return square_root(fused(float(exponent), -1.3862943649291992f, f * q));
}

// Box-Muller: r cos, r sin of the angle 2 pi word / 2^32, taken as a sign (the nearest half turn) and an
// angle of at most pi/2.
HD void box_muller(float r, uint32_t word, float* r_cosine, float* r_sine) {
  r = as_float(as_bits(r) ^ ((word + 0x40000000u) & 0x80000000u));
  const float x = float(int32_t(word << 1)) * (3.1415927410125732f * 0x1p-32f);
  const float z = x * x;
  float s = fused(2.634877318996587e-06f, z, -0.0001982278481591493f);
  s = fused(fused(s, z, 0.008333242498338223f), z, -0.1666666567325592f);
  float c = fused(-2.6299781552552304e-07f, z, 2.477469934092369e-05f);
  c = fused(fused(fused(c, z, -0.0013888654066249728f), z, 0.0416666604578495f), z, -0.5f);
  *r_cosine = r * fused(c, z, 1.0f);
  *r_sine = r * fused(x * z, s, x);
}

// Four words to four normals.
HD void normals(const uint32_t* words, float* out) {
  box_muller(radius(words[0]), words[1], &out[0], &out[1]);
  box_muller(radius(words[2]), words[3], &out[2], &out[3]);
}

}  // namespace
