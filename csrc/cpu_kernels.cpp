// The loss on a CPU: one pass over the inputs, distances, telemetry and gradient together.
//
// Bytes per element with all four terms in bf16: 8 inputs read and the gradient written, 18; 14 where
// the negatives' noises are drawn or replaced by their mean, 12 where eps is drawn too.
//
// Layout: a chunk of 16384 elements is one task. A line is 32 elements, in bf16 a cache line of every
// tensor. Its words hold an element with an even and one with an odd number each; a shift or a mask widens
// either where it lies, so nothing is unpacked. Nothing is contracted: the same bits for any number of
// threads and for every instruction set. Each lane adds the 8 products of a block of 128 elements in
// single precision, then goes on in double, so the sums are exact to the rounding of their float32 output.
//
// The mask hardly ever leaves anything out, and the sums tell: where a lane's squares add up to at most
// threshold^2, no |e| in it is above. So a chunk is summed without the mask, and again with it where they
// add up to more, or to nan. Where v is not finite they do, by e_fm: the second time alone counts v's nan
// and infinities, which thus cost nothing where there are none.
//
// Large tensors begin on pages, so the same element of all eight lies at one place of its page and they
// share one set of the first-level cache, where lines fetched long before their use push each other out.
// Hence a line is used whole at once, and asked for 4 lines before. The gradient of a large problem is
// written past the caches, which saves reading its lines first.
//
// Tried and lost (ns an element from the second-level cache; now 0.29): loops for GCC's own vectoriser,
// with residuals kept in between, 0.52; 64-byte vectors where registers have 32, 4.6 for 0.65; the check
// of the sums by a loop, 0.41; asking for lines not at all or 16 before, up to a fifth slower at B of 1.

#include "cpu_kernels.h"

#include <algorithm>
#include <cstring>

#include "blocks.h"

namespace {

using direct::CHUNK;
using direct::NONFINITE;
using direct::Stream;
using direct::SUMS;
using direct::TERMS;

constexpr int AHEAD = 128;  // elements between what is asked for and what is worked on
constexpr int DRAW = 256;   // normals are drawn so many at a time: 64 take a fifth longer each

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
      box_muller(radius<float>(word[k][j]), word[k + 1][j], &value[k][j], &value[k + 1][j]);
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

// The next DRAW normals, or those up to `end` and then zeros, of every term that draws them.
template <class T>
void draw_terms(const Problem& p, Key key, int64_t first, int64_t end, float (*drawn)[DRAW]) {
  const int64_t count = end - first < DRAW ? end - first : DRAW;
  alignas(64) float normals[DRAW];
  for (int k = 0; k < TERMS - 1; ++k) {
    if (p.noise[k] != Source::DRAWN) continue;
    draw(key, uint32_t(k), first, count, normals);
    std::fill(normals + count, normals + DRAW, 0.0f);
    for (int i = 0; i < DRAW; i += LINE) in_order_of(static_cast<const T*>(nullptr), normals + i, drawn[k] + i);
  }
}

// The block that starts at `first` in every tensor that is there: in place where it lies whole and side
// by side, else gathered into `scratch`.
template <class T>
void blocks_of(const Problem& p, int64_t b, int64_t first, int count, T (*scratch)[BLOCK], const T** at) {
  for (int i = 0; i < direct::INPUTS; ++i) {
    const Stream& stream = p.in[i];
    if (!(p.present >> i & 1)) continue;
    at[i] = static_cast<const T*>(stream.data) + b * stream.batch_stride + first;
    if (stream.dims == 0 && count == BLOCK) continue;
    gather(stream, b, first, count, scratch[i]);
    at[i] = scratch[i];
  }
}

// alpha_dot x + sigma_dot eps; PLAIN, where they are -1 and 1, has the same bits.
template <bool PLAIN>
HD Floats target(const Problem& p, Floats x, Floats eps) {
  return PLAIN ? eps - x : p.alpha_dot * x + p.sigma_dot * eps;
}

// m (v - u) of term K, for the lanes from `lane` on of the line at element i; zero for an absent term.
template <int K, bool PLAIN, bool MASKED, class T>
HD Pair residual(const Problem& p, const T* const* at, const float* drawn, int i, int lane, Pair v) {
  const Source source = PLAIN ? Source::GIVEN : p.noise[K];
  Pair u = {}, eps = {};
  if (source == Source::ABSENT) return u;
  if (K == ANC) {
    u = fetch<AHEAD>(at[direct::V_REF] + i, lane);
  } else {
    const Pair x = fetch<AHEAD>(at[direct::X + 2 * K] + i, lane);
    if (source == Source::GIVEN) eps = fetch<AHEAD>(at[direct::EPS + 2 * K] + i, lane);
    if (source == Source::DRAWN) eps = load(drawn + K * DRAW + i, lane);
    u = {target<PLAIN>(p, x.even, eps.even), target<PLAIN>(p, x.odd, eps.odd)};
  }
  return {kept<MASKED>(v.even - u.even, p.threshold), kept<MASKED>(v.odd - u.odd, p.threshold)};
}

// Adds a vector's products to the sums.
HD void accumulate(Floats fm, Floats rand, Floats hard, Floats anc, Floats* sums) {
  sums[0] += fm * fm;
  sums[1] += rand * rand;
  sums[2] += hard * hard;
  sums[3] += anc * anc;
  sums[4] += fm * rand;
  sums[5] += fm * hard;
}

HD Floats combined(const Floats* scale, Floats fm, Floats rand, Floats hard, Floats anc) {
  return (scale[FM] * fm + scale[RAND] * rand) + (scale[HARD] * hard + scale[ANC] * anc);
}

// A block's sums, lane by lane, and, where `gradient` is wanted, its gradient.
template <bool PLAIN, bool MASKED, class T>
HD void block(const Problem& p, const T* const* at, const float* drawn, const Floats* scale, bool past_caches, int lane,
              T* gradient, Floats* sums) {
  for (int i = 0; i < BLOCK; i += LINE) {
    const Pair v = fetch<AHEAD>(at[direct::V] + i, lane);
    const Pair fm = residual<FM, PLAIN, MASKED>(p, at, drawn, i, lane, v);
    const Pair rand = residual<RAND, PLAIN, MASKED>(p, at, drawn, i, lane, v);
    const Pair hard = residual<HARD, PLAIN, MASKED>(p, at, drawn, i, lane, v);
    const Pair anc = residual<ANC, PLAIN, MASKED>(p, at, drawn, i, lane, v);
    accumulate(fm.even, rand.even, hard.even, anc.even, sums);
    accumulate(fm.odd, rand.odd, hard.odd, anc.odd, sums);
    if (MASKED) sums[NONFINITE] += nonfinite(v.even) + nonfinite(v.odd);
    if (!gradient) continue;
    const Floats even = combined(scale, fm.even, rand.even, hard.even, anc.even);
    const Floats odd = combined(scale, fm.odd, rand.odd, hard.odd, anc.odd);
    store({even, odd}, past_caches, gradient + i, lane);
  }
}

// A chunk's sums, and its part of the gradient; whether no |e| in it can be above the threshold, so that
// the mask and the count of what is not finite are not needed.
template <bool PLAIN, bool MASKED, class T>
bool chunk_of(const Problem& p, int64_t b, int64_t chunk, bool stream_gradient, double* sums) {
  alignas(64) float drawn[TERMS - 1][DRAW];
  alignas(64) T scratch[direct::INPUTS][BLOCK], last[BLOCK];
  const T* at[direct::INPUTS] = {};
  double lanes[SUMS][LANES] = {};
  Floats scale[TERMS];
  for (int k = 0; k < TERMS; ++k) scale[k] = Floats{} + gradient_scale(p, b, k);
  const Key key = key_of(p, b);
  constexpr int WANTED = MASKED ? SUMS : NONFINITE;
  const float most = bound(p.threshold);
  Words outside = {};
  T* gradient = static_cast<T*>(p.gradient) + b * p.elements;
  const bool aligned = stream_gradient && reinterpret_cast<uintptr_t>(gradient) % 64 == 0;
  const int64_t end = (chunk + 1) * CHUNK < p.elements ? (chunk + 1) * CHUNK : p.elements;
  for (int64_t first = chunk * CHUNK; first < end; first += BLOCK) {
    if (first % DRAW == 0) draw_terms<T>(p, key, first, end, drawn);
    const int count = end - first < BLOCK ? int(end - first) : BLOCK;
    blocks_of(p, b, first, count, scratch, at);
    T* out = !p.gradient ? nullptr : count < BLOCK ? last : gradient + first;
    const float* noise = drawn[0] + first % DRAW;  // term k's: k DRAW further
    for (int lane = 0; lane < LANES; lane += VECTOR) {
      Floats part[SUMS] = {};
      block<PLAIN, MASKED>(p, at, noise, scale, aligned && out != last, lane, out, part);
      outside |= ~Words((part[0] + part[1]) + (part[2] + part[3]) <= most);
      for (int s = 0; s < WANTED; ++s)
        for (int j = 0; j < VECTOR; ++j) lanes[s][lane + j] += double(part[s][j]);
    }
    if (out == last) std::memcpy(gradient + first, last, size_t(count) * sizeof(T));
  }
#if defined(__x86_64__)
  _mm_sfence();
#endif
  for (int s = 0; s < SUMS; ++s) {
    sums[s] = 0;
    for (int j = 0; j < LANES; ++j) sums[s] += lanes[s][j];
  }
  bool inside = true;
  for (int j = 0; j < VECTOR; ++j) inside &= outside[j] == 0;
  return inside;
}

template <bool PLAIN, class T>
void loss_of(const Problem& p, int64_t b, int64_t chunk, bool stream_gradient, double* sums) {
  if (!chunk_of<PLAIN, false, T>(p, b, chunk, stream_gradient, sums))
    chunk_of<PLAIN, true, T>(p, b, chunk, stream_gradient, sums);
}

// PLAIN: flow matching on a straight path, with all four terms and every noise given.
template <class T>
void loss(const Problem& p, int64_t b, int64_t chunk, bool stream_gradient, double* sums) {
  bool plain = p.alpha_dot == -1.0f && p.sigma_dot == 1.0f;
  for (int k = 0; k < TERMS; ++k) plain &= p.noise[k] == Source::GIVEN;
  (plain ? loss_of<true, T> : loss_of<false, T>)(p, b, chunk, stream_gradient, sums);
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
#define TARGETS(isa) JOIN(targets_, isa)

namespace direct {
const CpuKernels KERNELS(DIRECT_ISA) = {
    STRING(DIRECT_ISA), loss<uint16_t>,        loss<float>,
    draw,               interpolate<uint16_t>, interpolate<float>, &TARGETS(DIRECT_ISA),
};
}
