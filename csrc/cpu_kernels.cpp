// The loss on a CPU: one pass over the inputs, distances, telemetry and gradient together.
//
// Bytes per element with all four terms in bf16: 8 inputs read and the gradient written, 18; 14 where
// the negatives' noises are drawn or replaced by their mean, 12 where eps is drawn too.
//
// Layout: a chunk of 16384 elements is one task. Inside it, blocks of 64 elements pass through the
// first-level cache: residuals e_k as floats, then sums and gradient from those. The loops are written
// for the compiler's vectoriser, 16 lanes at a time, without contraction: the same bits for any number
// of threads and for every instruction set. Each lane adds 4 products in single precision, then goes
// on in double, so the sums are exact to the rounding of their float32 output.
//
// Large tensors begin on pages, so the same element of all eight lies at one place of its page, and the
// lines that the processor fetches ahead push each other out. Hence small blocks, and each term asks for
// its own inputs a few blocks ahead (docs/log.md). The gradient of a large problem is written past the
// caches, which saves reading its lines first. Tried and lost: all terms in one loop, without residuals in
// between; GCC 12 then takes half-width vectors, and a block of given noises that lies in the second-level
// cache takes 0.94 instead of 0.46 ns an element.

#include "cpu_kernels.h"

#include <cmath>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

using direct::CHUNK;
using direct::Stream;
using direct::SUMS;
using direct::TERMS;

constexpr int BLOCK = 64;
constexpr int DRAW = 256;   // normals are drawn so many at a time: 64 take a fifth longer each
constexpr int AHEAD = 512;  // elements between what is asked for and what is worked on
constexpr int LANES = 16;

// e = m (v - (alpha_dot x + sigma_dot eps)); `eps` is of the inputs' type, or drawn floats.
template <class T, class E>
HD void residual(const T* v, const T* x, const E* eps, const Problem& p, int count, float* e) {
  const float alpha = p.alpha_dot, sigma = p.sigma_dot, threshold = p.threshold;
  for (int i = 0; i < count; ++i)
    e[i] = masked(widen(v[i]) - (alpha * widen(x[i]) + sigma * widen(eps[i])), threshold);
}

// The same for a target u = scale * x: a negative with its noise's mean (0), or the anchor.
template <class T>
HD void residual(const T* v, const T* x, float scale, float threshold, int count, float* e) {
  for (int i = 0; i < count; ++i) e[i] = masked(widen(v[i]) - scale * widen(x[i]), threshold);
}

// 64 counter blocks, 256 normals: word by word, so that every loop fills whole vectors.
void draw_block(Key key, uint32_t term, uint64_t block, float* out) {
  constexpr int COUNT = DRAW / 4;
  alignas(64) uint32_t word[4][COUNT];
  alignas(64) float value[4][COUNT];
  for (int j = 0; j < COUNT; ++j) {
    uint32_t words[1][4];
    set_counter(key, block + uint64_t(j), term, words[0]);
    philox<1>(key.seed, words);
    for (int k = 0; k < 4; ++k) word[k][j] = words[0][k];
  }
  for (int k = 0; k < 4; k += 2)
    for (int j = 0; j < COUNT; ++j)
      box_muller(radius(word[k][j]), word[k + 1][j], &value[k][j], &value[k + 1][j]);
  for (int j = 0; j < COUNT; ++j)
    for (int k = 0; k < 4; ++k) out[4 * j + k] = value[k][j];
}

void draw(Key key, uint32_t term, int64_t first, int64_t count, float* out) {
  for (; count >= DRAW; first += DRAW, count -= DRAW, out += DRAW)
    draw_block(key, term, uint64_t(first) / 4, out);
  if (count > 0) {
    alignas(64) float last[DRAW];
    draw_block(key, term, uint64_t(first) / 4, last);
    std::memcpy(out, last, size_t(count) * 4);
  }
}

// The next DRAW normals, or those up to `end`, of every term that draws them.
void draw_terms(const Problem& p, Key key, int64_t first, int64_t end, float (*drawn)[DRAW]) {
  for (int k = 0; k < TERMS - 1; ++k)
    if (p.noise[k] == Source::DRAWN) draw(key, uint32_t(k), first, end - first < DRAW ? end - first : DRAW, drawn[k]);
}

// A block of a tensor whose elements do not lie side by side, copied.
template <class T>
void gather(const Stream& stream, int64_t b, int64_t first, int count, T* out) {
  int64_t index[direct::MAX_DIMS], rest = first;
  const T* at = static_cast<const T*>(stream.data) + b * stream.batch_stride;
  for (int d = stream.dims - 1; d >= 0; --d) {
    index[d] = rest % stream.size[d];
    rest /= stream.size[d];
    at += index[d] * stream.stride[d];
  }
  for (int i = 0; i < count; ++i) {
    out[i] = *at;
    for (int d = stream.dims - 1; d >= 0; --d) {
      at += stream.stride[d];
      if (++index[d] < stream.size[d]) break;
      at -= stream.stride[d] * stream.size[d];
      index[d] = 0;
    }
  }
}

// Sample b's elements from `first` on: in place, or gathered into `scratch`. In place it also asks for the
// block that lies AHEAD; past the end that asks for nothing that hurts.
template <class T>
HD const T* block_of(const Stream& stream, int64_t b, int64_t first, int count, T* scratch) {
  if (stream.dims == 0) {
    const T* at = static_cast<const T*>(stream.data) + b * stream.batch_stride + first;
    for (size_t i = 0; i < BLOCK; i += 64 / sizeof(T)) __builtin_prefetch(at + AHEAD + i);
    return at;
  }
  gather(stream, b, first, count, scratch);
  return scratch;
}

// The masked residuals of every term that is there; those of an absent term stay zero.
template <class T>
void residuals(const Problem& p, const float (*drawn)[DRAW], int64_t b, int64_t first, int count, float (*e)[BLOCK]) {
  alignas(64) T scratch_v[BLOCK], scratch_x[BLOCK], scratch_eps[BLOCK];
  const T* v = block_of(p.in[direct::V], b, first, count, scratch_v);
  for (int k = 0; k < TERMS - 1; ++k) {
    if (p.noise[k] == Source::ABSENT) continue;
    const T* x = block_of(p.in[direct::X + 2 * k], b, first, count, scratch_x);
    if (p.noise[k] == Source::GIVEN) {
      residual(v, x, block_of(p.in[direct::EPS + 2 * k], b, first, count, scratch_eps), p, count, e[k]);
    } else if (p.noise[k] == Source::DRAWN) {
      residual(v, x, drawn[k] + first % DRAW, p, count, e[k]);
    } else {
      residual(v, x, p.alpha_dot, p.threshold, count, e[k]);
    }
  }
  if (p.noise[ANC] != Source::ABSENT) {
    const T* v_ref = block_of(p.in[direct::V_REF], b, first, count, scratch_x);
    residual(v, v_ref, 1.0f, p.threshold, count, e[ANC]);
  }
}

// Adds a block's products to the sums, lane by lane.
void accumulate(const float (*e)[BLOCK], double (*sums)[LANES]) {
  float lane[SUMS][LANES] = {};
  for (int i = 0; i < BLOCK; i += LANES)
    for (int j = 0; j < LANES; ++j) {
      const float fm = e[FM][i + j], rand = e[RAND][i + j], hard = e[HARD][i + j], anc = e[ANC][i + j];
      lane[0][j] += fm * fm;
      lane[1][j] += rand * rand;
      lane[2][j] += hard * hard;
      lane[3][j] += anc * anc;
      lane[4][j] += fm * rand;
      lane[5][j] += fm * hard;
    }
  for (int s = 0; s < SUMS; ++s)
    for (int j = 0; j < LANES; ++j) sums[s][j] += double(lane[s][j]);
}

// Writes 64-byte lines past the caches; `out` is aligned to one.
void write_past_caches(const void* block, size_t bytes, void* out) {
#if defined(__AVX512F__)
  for (size_t i = 0; i < bytes / 64; ++i)
    _mm512_stream_si512(static_cast<__m512i*>(out) + i, static_cast<const __m512i*>(block)[i]);
#elif defined(__AVX2__)
  for (size_t i = 0; i < bytes / 32; ++i)
    _mm256_stream_si256(static_cast<__m256i*>(out) + i, static_cast<const __m256i*>(block)[i]);
#elif defined(__x86_64__)
  for (size_t i = 0; i < bytes / 16; ++i)
    _mm_stream_si128(static_cast<__m128i*>(out) + i, static_cast<const __m128i*>(block)[i]);
#else
  std::memcpy(out, block, bytes);
#endif
}

template <class T>
void write_gradient(const float (*e)[BLOCK], const float* scale, int count, bool past_caches, T* out) {
  alignas(64) T block[BLOCK];
  for (int i = 0; i < BLOCK; ++i) {
    const float g = scale[FM] * e[FM][i] + scale[RAND] * e[RAND][i];
    narrow(g + (scale[HARD] * e[HARD][i] + scale[ANC] * e[ANC][i]), &block[i]);
  }
  if (past_caches && count == BLOCK && reinterpret_cast<uintptr_t>(out) % 64 == 0)
    write_past_caches(block, sizeof(block), out);
  else
    std::memcpy(out, block, size_t(count) * sizeof(T));
}

template <class T>
void loss(const Problem& p, int64_t b, int64_t chunk, bool stream_gradient, double* sums) {
  alignas(64) float e[TERMS][BLOCK] = {}, drawn[TERMS - 1][DRAW];
  double lanes[SUMS][LANES] = {};
  float scale[TERMS];
  for (int k = 0; k < TERMS; ++k) scale[k] = gradient_scale(p, b, k);
  const Key key = key_of(p, b);
  T* gradient = static_cast<T*>(p.gradient) + b * p.elements;
  const int64_t end = (chunk + 1) * CHUNK < p.elements ? (chunk + 1) * CHUNK : p.elements;
  for (int64_t first = chunk * CHUNK; first < end; first += BLOCK) {
    if (first % DRAW == 0) draw_terms(p, key, first, end, drawn);
    const int count = end - first < BLOCK ? int(end - first) : BLOCK;
    if (count < BLOCK) std::memset(e, 0, sizeof(e));
    if (count == BLOCK)
      residuals<T>(p, drawn, b, first, BLOCK, e);
    else
      residuals<T>(p, drawn, b, first, count, e);
    accumulate(e, lanes);
    if (p.gradient) write_gradient(e, scale, count, stream_gradient, gradient + first);
  }
#if defined(__x86_64__)
  _mm_sfence();
#endif
  for (int s = 0; s < SUMS; ++s) {
    sums[s] = 0;
    for (int j = 0; j < LANES; ++j) sums[s] += lanes[s][j];
  }
}

template <class T>
void interpolate(Key key, float t, int64_t first, int64_t count, const T* x, T* out) {
  const float rest = 1.0f - t;
  alignas(64) float eps[DRAW];
  for (int64_t at = 0; at < count; at += DRAW) {
    const int size = count - at < DRAW ? int(count - at) : DRAW;
    draw(key, FM, first + at, size, eps);
    for (int i = 0; i < size; ++i) narrow(rest * widen(x[at + i]) + t * eps[i], &out[at + i]);
  }
}

}  // namespace

#define NAME_OF(isa) #isa
#define STRING(isa) NAME_OF(isa)
#define JOIN(a, b) a##b
#define KERNELS(isa) JOIN(kernels_, isa)

namespace direct {
const CpuKernels KERNELS(DIRECT_ISA) = {
    STRING(DIRECT_ISA), loss<uint16_t>,        loss<float>,
    draw,               interpolate<uint16_t>, interpolate<float>,
};
}
