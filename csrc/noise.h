// Counter-based normal noise, the same text for C++ and CUDA: see direct/noise.py, which defines it.
//
// Everything here is integer arithmetic or a correctly rounded operation, so a CPU and a GPU give the
// same bits. Four normals cost about 100 machine instructions on a GPU, a quarter of a load's latency.
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

HD float square_root(float a) {
#if defined(__CUDA_ARCH__)
  return __fsqrt_rn(a);
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

// Philox4x32-10.
HD void philox(uint64_t counter, uint32_t term, uint64_t key, uint32_t* words) {
  uint32_t c0 = uint32_t(counter), c1 = uint32_t(counter >> 32), c2 = term, c3 = 0;
  uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
#if defined(__CUDACC__)
#pragma unroll
#else
#pragma GCC unroll 10
#endif
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t(c0) * 0xD2511F53u, p1 = uint64_t(c2) * 0xCD9E8D57u;
    c0 = uint32_t(p1 >> 32) ^ c1 ^ k0;
    c2 = uint32_t(p0 >> 32) ^ c3 ^ k1;
    c1 = uint32_t(p1);
    c3 = uint32_t(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}

// sqrt(-2 ln u), u = (word + 1/2) / 2^32.
HD float radius(uint32_t word) {
  const uint32_t bits = as_bits(fused(to_float(word), 0x1p-32f, 0x1p-33f));
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

// Cosine and sine of 2 pi word / 2^32: the nearest quadrant, and an angle of at most pi/4 from it.
HD void cos_sin(uint32_t word, float* cosine, float* sine) {
  const uint32_t shifted = word + 0x20000000u, quadrant = shifted >> 30;
  const float x = float(int32_t(shifted & 0x3fffffffu) - 0x20000000) * (6.283185482025146f * 0x1p-32f);
  const float z = x * x;
  const float p = fused(fused(z, -0.0001958801003638655f, 0.008332748897373676f), z, -0.166666641831398f);
  const float s = fused(x * z, p, x);
  float c = fused(z, 2.4547975044697523e-05f, -0.001388830365613103f);
  c = fused(fused(fused(c, z, 0.0416666641831398f), z, -0.5f), z, 1.0f);
  const bool odd = quadrant & 1;
  *cosine = as_float(as_bits(odd ? s : c) ^ (((quadrant + 1) & 2) << 30));
  *sine = as_float(as_bits(odd ? c : s) ^ ((quadrant & 2) << 30));
}

// The four normals of elements 4 * block to 4 * block + 3.
HD void normals(Key key, uint64_t block, uint32_t term, float* out) {
  uint32_t words[4];
  philox(key.offset + block, term, key.seed, words);
  for (int pair = 0; pair < 2; ++pair) {
    const float r = radius(words[2 * pair]);
    float c, s;
    cos_sin(words[2 * pair + 1], &c, &s);
    out[2 * pair] = r * c;
    out[2 * pair + 1] = r * s;
  }
}

}  // namespace
