// K targets on a CPU: v and each target read once, the gradient written once. Bytes per element in bf16:
// 4 + 2 K.
//
// Chunks, lines, lanes, the mask and the sums are those of cpu_kernels.cpp, which says why; a target has the
// bits that it has there in the reference's place. A block's v and gradient stay in registers (with 64-byte
// vectors, eight each) while the targets pass one after the other. So a stream is used four lines at a time, and
// asked for 8 blocks before. (AMD EPYC: one block before, as there, takes up to twice as long where three or more
// streams lie badly on their pages, four blocks up to 1.15 times. Half a block at a time, for AVX2's 16 registers:
// 1.2 times.)

#include <algorithm>
#include <cstring>

#include "blocks.h"
#include "cpu_kernels.h"

namespace {

using direct::CHUNK;
using direct::MAX_TARGETS;

constexpr int LINES = BLOCK / LINE;
constexpr int AHEAD = 1024;  // elements between what is asked for and what is worked on

// The block that starts at `first`: in place where it lies whole and side by side, else gathered.
template <class T>
const T* block_of(const Stream& stream, int64_t b, int64_t first, int count, T* scratch) {
  if (stream.dims == 0 && count == BLOCK) return static_cast<const T*>(stream.data) + b * stream.batch_stride + first;
  gather(stream, b, first, count, scratch);
  return scratch;
}

// Each target's sums over a block, for the lanes from `lane` on, and, where `gradient` is wanted, its gradient.
template <bool MASKED, class T>
HD void block(const Targets& p, const T* const* at, const float* scale, bool past_caches, int lane, T* gradient,
              Floats* sums) {
  Pair v[LINES], g[LINES] = {};
  for (int i = 0; i < LINES; ++i) v[i] = fetch<AHEAD>(at[0] + i * LINE, lane);
  for (int k = 0; k < p.count; ++k) {
    const Floats by = Floats{} + scale[k];
    Floats sum = {};
    for (int i = 0; i < LINES; ++i) {
      const Pair u = fetch<AHEAD>(at[1 + k] + i * LINE, lane);
      const Floats even = kept<MASKED>(v[i].even - u.even, p.threshold);
      const Floats odd = kept<MASKED>(v[i].odd - u.odd, p.threshold);
      sum += even * even;
      sum += odd * odd;
      g[i].even += by * even;
      g[i].odd += by * odd;
    }
    sums[k] = sum;
  }
  for (int i = 0; gradient && i < LINES; ++i) store(g[i], past_caches, gradient + i * LINE, lane);
}

// A chunk's sums, and its part of the gradient; whether no |e| in it can be above the threshold.
template <bool MASKED, class T>
bool chunk_of(const Targets& p, int64_t b, int64_t chunk, bool stream_gradient, double* sums) {
  alignas(64) T scratch[1 + MAX_TARGETS][BLOCK], last[BLOCK];
  const T* at[1 + MAX_TARGETS];
  float scale[MAX_TARGETS];
  double lanes[MAX_TARGETS][LANES];
  for (int k = 0; k < p.count; ++k) {
    scale[k] = target_scale(p, b, k);
    std::fill(lanes[k], lanes[k] + LANES, 0.0);
  }
  const float most = bound(p.threshold);
  Words outside = {};
  T* gradient = static_cast<T*>(p.gradient) + b * p.elements;
  const bool aligned = stream_gradient && reinterpret_cast<uintptr_t>(gradient) % 64 == 0;
  const int64_t end = (chunk + 1) * CHUNK < p.elements ? (chunk + 1) * CHUNK : p.elements;
  for (int64_t first = chunk * CHUNK; first < end; first += BLOCK) {
    const int count = end - first < BLOCK ? int(end - first) : BLOCK;
    for (int i = 0; i <= p.count; ++i) at[i] = block_of(p.in[i], b, first, count, scratch[i]);
    T* out = !p.gradient ? nullptr : count < BLOCK ? last : gradient + first;
    for (int lane = 0; lane < LANES; lane += VECTOR) {
      Floats part[MAX_TARGETS];
      block<MASKED>(p, at, scale, aligned && out != last, lane, out, part);
      for (int k = 0; k < p.count; ++k) {
        outside |= ~Words(part[k] <= most);
        for (int j = 0; j < VECTOR; ++j) lanes[k][lane + j] += double(part[k][j]);
      }
    }
    if (out == last) std::memcpy(gradient + first, last, size_t(count) * sizeof(T));
  }
#if defined(__x86_64__)
  _mm_sfence();
#endif
  for (int k = 0; k < p.count; ++k) {
    sums[k] = 0;
    for (int j = 0; j < LANES; ++j) sums[k] += lanes[k][j];
  }
  bool inside = true;
  for (int j = 0; j < VECTOR; ++j) inside &= outside[j] == 0;
  return inside;
}

template <class T>
void targets(const Targets& p, int64_t b, int64_t chunk, bool stream_gradient, double* sums) {
  if (!chunk_of<false, T>(p, b, chunk, stream_gradient, sums))
    chunk_of<true, T>(p, b, chunk, stream_gradient, sums);
}

}  // namespace

#define JOIN(a, b) a##b
#define KERNELS(isa) JOIN(targets_, isa)

namespace direct {
const TargetKernels KERNELS(DIRECT_ISA) = {targets<uint16_t>, targets<float>};
}
