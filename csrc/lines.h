// Lines of 32 elements as vectors of whatever width the instruction set has (GCC's and Clang's vector
// extension). Sixteen lanes take two elements of a line each, so lane j means the same elements whether
// one vector holds all lanes or four do.
#pragma once

#include "velocity_loss.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
#define WIDTH 64  // bytes of a vector
#elif defined(__AVX2__)
#define WIDTH 32
#else
#define WIDTH 16
#endif
typedef float Floats __attribute__((vector_size(WIDTH)));
typedef uint32_t Words __attribute__((vector_size(WIDTH)));

constexpr int LANES = 16;
constexpr int VECTOR = WIDTH / 4;  // lanes of one vector
constexpr int LINE = 2 * LANES;

// What the lanes from `lane` on take of a line: of bf16 the elements with even and with odd numbers, of
// floats the line's first and second half; any split will do that is the same for all tensors.
struct Pair {
  Floats even, odd;
};

template <class Vector, class T>
HD Vector vector_at(const T* at) {
  Vector vector;
  __builtin_memcpy(&vector, at, sizeof(vector));
  return vector;
}

HD Pair load(const uint16_t* line, int lane) {
  const Words words = vector_at<Words>(line + 2 * lane);
  return {Floats(words << 16), Floats(words & 0xffff0000u)};
}

HD Pair load(const float* line, int lane) {
  return {vector_at<Floats>(line + lane), vector_at<Floats>(line + LANES + lane)};
}

// Each float's bf16, to nearest even, in the upper half of its word; nan stays nan. As `to_bf16`.
HD Words rounded(Floats value) {
  const Words bits = Words(value), even = bits + 0x7fffu + ((bits >> 16) & 1u);
  return value == value ? even : Words{} + 0x7fc00000u;
}

// 1 in the lanes that hold nan or an infinity, 0 in the others.
HD Floats nonfinite(Floats value) {
  return (Words(value) & 0x7f800000u) == 0x7f800000u ? Floats{} + 1.0f : Floats{};
}

// One vector to memory; past the caches only where `out` is aligned to it.
HD void store_vector(Words vector, bool past_caches, void* out) {
#if defined(__AVX512F__)
  if (past_caches) return _mm512_stream_si512(static_cast<__m512i*>(out), __m512i(vector));
#elif defined(__AVX2__)
  if (past_caches) return _mm256_stream_si256(static_cast<__m256i*>(out), __m256i(vector));
#elif defined(__x86_64__)
  if (past_caches) return _mm_stream_si128(static_cast<__m128i*>(out), __m128i(vector));
#endif
  (void)past_caches;
  __builtin_memcpy(out, &vector, sizeof(vector));
}

HD void store(Pair g, bool past_caches, uint16_t* line, int lane) {
  store_vector((rounded(g.even) >> 16) | (rounded(g.odd) & 0xffff0000u), past_caches, line + 2 * lane);
}

HD void store(Pair g, bool past_caches, float* line, int lane) {
  store_vector(Words(g.even), past_caches, line + lane);
  store_vector(Words(g.odd), past_caches, line + LANES + lane);
}

// A line of drawn floats in the order in which `load` takes a line of tensors: unlike those, floats of
// bf16's elements.
HD void in_order_of(const uint16_t*, const float* line, float* out) {
  for (int j = 0; j < LANES; ++j) out[j] = line[2 * j], out[LANES + j] = line[2 * j + 1];
}
HD void in_order_of(const float*, const float* line, float* out) { __builtin_memcpy(out, line, LINE * sizeof(float)); }

}  // namespace
