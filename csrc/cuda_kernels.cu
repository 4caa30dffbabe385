// The loss on a GPU: one launch, each input read once, the gradient written once.
//
// Bytes per element with all four terms in bf16: 18 with both negatives' noises given, 14 with them drawn
// inside or replaced by their mean, 12 with eps drawn too. At 3 TB/s (an H100's copy) the paper's shape
// [8, 16, 21, 60, 104] takes 78 us at 14 bytes; the instruction budget there is about 134 per element,
// and drawing two noises takes about 65, which is why it can hide behind the loads.
//
// Layout: a block of 256 threads, two warps a scheduler, owns a chunk of 8192 elements. The paper's sample,
// 2,096,640 elements, is 256 chunks: on an H100's 132 SMs, where three blocks fit on each, all run at once. A
// thread takes 16 bytes of each input at a time; a warp reads 512 contiguous bytes per load. The chunk
// does not depend on the device, so neither do the sums: a thread adds its 32 products, a block its threads
// in a fixed tree, the last block of a sample (found by a ticket) the chunks in order, and the last sample
// the loss. No floating-point atomics, no second launch.
//
// Loads into registers sink to their first use, whatever the source says: ptxas saves registers. So rows of
// whole vectors are copied into shared memory by cp.async, a pass ahead: a thread waits for its copies, takes
// them, asks for the next ones into the same place, and computes. v is copied two passes ahead, into slots by
// turns: the three blocks of an SM that draw everything have 72 KB under way then, in place of 60. And it is
// read where it is used, which saves four registers. Nobody else touches a thread's 16 bytes of an input, so
// there are no barriers.
//
// What is not finite in v is counted beside the sums, in float32: a chunk's count is exact there, and the
// chunks' sum in double.
//
// An absent term is a target of zeros with coefficient zero: no branch in the arithmetic. Two variants per
// type and task: `Aligned`, where every row begins on 16 bytes and holds whole vectors, has 128-bit accesses
// alone; the other takes any size element by element.

#include <cuda_pipeline.h>

#include "cuda_kernels.h"
#include "vectors.h"

namespace {

using direct::EPS;
using direct::INPUTS;
using direct::NONFINITE;
using direct::SUMS;
using direct::TERMS;

constexpr int THREADS = 256, WARPS = THREADS / 32;
constexpr int64_t CHUNK = 8192;
constexpr int V_SLOTS = 4, SLOTS = V_SLOTS + INPUTS - 1;  // v needs three; four, since that is a power of two
static_assert(direct::V == 0);

// Which terms' noises a kernel can draw. A term that was given its noise or does without it in a kernel that
// could draw it wastes the arithmetic; the two common cases waste nothing.
enum Draws { NOTHING, NEGATIVES, EVERYTHING };

// Who draws everything was not given eps.
template <int DRAWS>
__device__ constexpr bool reads(int input) { return DRAWS != EVERYTHING || input != EPS; }

// The noises of all terms that are drawn, for SIZE elements from `first` on: one key, so side by side.
template <int DRAWS, int SIZE>
__device__ __forceinline__ void draw(Key key, int64_t first, float (*eps)[SIZE]) {
  constexpr int FROM = DRAWS == EVERYTHING ? FM : RAND, BLOCKS = SIZE / 4, COUNT = (ANC - FROM) * BLOCKS;
  uint32_t words[COUNT][4];
#pragma unroll
  for (int j = 0; j < COUNT; ++j) set_counter(key, uint64_t(first) / 4 + j % BLOCKS, FROM + j / BLOCKS, words[j]);
  philox<COUNT>(key.seed, words);
#pragma unroll
  for (int j = 0; j < COUNT; ++j) normals(words[j], &eps[FROM + j / BLOCKS][j % BLOCKS * 4]);
}

// One vector, `at` elements into the chunk: its products are added to the sums, its part of the gradient is
// written. `in` are the inputs there, and `to` is the gradient at the chunk's beginning.
template <class T, int DRAWS, bool Gradient, bool Aligned>
__device__ __forceinline__ void vector(const Problem& p, const Vector<T>* in, T* to, Key key, int64_t chunk_begin,
                                       unsigned at, int count, const float* scale, float* sums) {
  constexpr int SIZE = Vector<T>::SIZE;
  float eps[TERMS - 1][SIZE];
  if constexpr (DRAWS != NOTHING) draw<DRAWS, SIZE>(key, chunk_begin + at, eps);
#pragma unroll
  for (int k = 0; k < TERMS - 1; ++k) {
    if (k == FM ? DRAWS == EVERYTHING : DRAWS != NOTHING && p.noise[k] == Source::DRAWN) continue;
#pragma unroll
    for (int i = 0; i < SIZE; ++i) eps[k][i] = element(in[EPS + 2 * k], i);  // zeros stand for the mean
  }

  float g[SIZE];
#pragma unroll
  for (int i = 0; i < SIZE; i += 2) {
    const auto two = [&](int input) { return Two(element(in[input], i), element(in[input], i + 1)); };
    const Two v = two(direct::V);
    if (!is_finite(v.a)) sums[NONFINITE] += 1;  // past `count` v is 0
    if (!is_finite(v.b)) sums[NONFINITE] += 1;
    float e[2][TERMS];
    Two slope = 0;
#pragma unroll
    for (int k = 0; k < TERMS; ++k) {
      Two difference = 0;
      if (k == ANC)
        difference = fused(Two(-1.0f), two(direct::V_REF), v);
      else
        difference = fused(Two(-p.sigma_dot), Two(eps[k][i], eps[k][i + 1]),
                           fused(Two(-p.alpha_dot), two(direct::X + 2 * k), v));
      e[0][k] = Aligned || i < count ? masked(difference.a, p.threshold) : 0;
      e[1][k] = Aligned || i + 1 < count ? masked(difference.b, p.threshold) : 0;
      slope = fused(Two(scale[k]), Two(e[0][k], e[1][k]), slope);
    }
    g[i] = slope.a, g[i + 1] = slope.b;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int k = 0; k < TERMS; ++k) sums[k] = fmaf(e[j][k], e[j][k], sums[k]);
      sums[TERMS] = fmaf(e[j][FM], e[j][RAND], sums[TERMS]);
      sums[TERMS + 1] = fmaf(e[j][FM], e[j][HARD], sums[TERMS + 1]);
    }
  }
  if constexpr (Gradient) {
    Vector<T> gradient;
#pragma unroll
    for (int i = 0; i < SIZE; i += 2) narrow_pair(g[i], g[i + 1], &gradient.value[i]);
    store<Aligned>(to + at, count, gradient);
  }
}

// The block's sums of `value`, in a fixed tree; the result is thread 0's.
template <class Number>
__device__ __forceinline__ void block_sum(Number* value) {
  __shared__ Number warp_sums[WARPS][SUMS];
  __syncthreads();
#pragma unroll
  for (int s = 0; s < SUMS; ++s) {
#pragma unroll
    for (int offset = 16; offset; offset /= 2) value[s] += __shfl_down_sync(~0u, value[s], offset);
    if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32][s] = value[s];
  }
  __syncthreads();
  if (threadIdx.x == 0)
#pragma unroll
    for (int s = 0; s < SUMS; ++s) {
      value[s] = 0;
      for (int warp = 0; warp < WARPS; ++warp) value[s] += warp_sums[warp][s];
    }
}

// True in the one block that arrives last of `count`; all that the others wrote is then visible.
__device__ __forceinline__ bool last_to_arrive(unsigned* ticket, unsigned count) {
  __shared__ bool last;
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicAdd(ticket, 1u) + 1 == count;
    __threadfence();
  }
  __syncthreads();
  return last;
}

// The sample's last block adds its chunks in order; the last sample adds the loss.
__device__ void finish_sample(const Problem& p, int64_t b, int64_t chunks, const float* partials, double* shares,
                              unsigned* tickets, const Results& out) {
  double sums[SUMS] = {};
  for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += THREADS)
    for (int s = 0; s < SUMS; ++s) sums[s] += double(__ldcg(&partials[(b * chunks + chunk) * 8 + s]));
  block_sum(sums);
  if (threadIdx.x != 0) return;
  __stcg(&shares[b], finish(p, b, sums, out));
  __threadfence();
  if (atomicAdd(&tickets[p.batch], 1u) + 1 != unsigned(p.batch)) return;
  __threadfence();
  double total = 0;
  for (int64_t i = 0; i < p.batch; ++i) total += __ldcg(&shares[i]);
  *out.loss = float(total);
}

template <class T, int DRAWS, bool Gradient, bool Aligned>
__global__ void __launch_bounds__(THREADS, Aligned ? 3 : 1 + (DRAWS == NOTHING))
    loss_kernel(const __grid_constant__ Problem p, unsigned chunks, float* partials, double* shares,
                unsigned* tickets, const __grid_constant__ Results results) {
  constexpr unsigned SIZE = Vector<T>::SIZE, STEP = THREADS * SIZE;
  const int64_t b = blockIdx.x / chunks, chunk = blockIdx.x % chunks, begin = chunk * CHUNK;
  const unsigned length = unsigned(p.elements - begin < CHUNK ? p.elements - begin : CHUNK);
  const Key key = DRAWS == NOTHING ? Key{0, 0} : key_of(p, b);
  const T* from[INPUTS];
#pragma unroll
  for (int i = 0; i < INPUTS; ++i)
    from[i] = in_register(static_cast<const T*>(p.in[i].data) + b * p.in[i].batch_stride + begin);
  T* to = in_register(static_cast<T*>(p.gradient) + b * p.elements + begin);
  float scale[TERMS], sums[SUMS] = {};
#pragma unroll
  for (int k = 0; k < TERMS; ++k) scale[k] = gradient_scale(p, b, k);
  __shared__ uint4 slots[SLOTS][THREADS];
  const unsigned thread = in_register(threadIdx.x);
  const auto slot = [&](int input, unsigned at) -> Vector<T>& {
    const unsigned row = input == direct::V ? at / STEP % V_SLOTS : V_SLOTS + input - 1;
    return reinterpret_cast<Vector<T>&>(slots[row][thread]);
  };
  const auto copy = [&](int input, unsigned at) { __pipeline_memcpy_async(&slot(input, at), from[input] + at, 16); };
  const auto fetch = [&](unsigned at) {
    if (at >= length) return;  // around all copies: ptxas then leaves them here, and does not let them sink
#pragma unroll
    for (int i = 1; i < INPUTS; ++i)
      if (reads<DRAWS>(i) && p.present >> i & 1) copy(i, at);
    __pipeline_commit();
    if (at + STEP < length) copy(direct::V, at + STEP);  // of the next group: the next pass does not wait for it
  };
  if constexpr (Aligned) {
#pragma unroll
    for (int i = 1; i < INPUTS; ++i)
      if (reads<DRAWS>(i) && !(p.present >> i & 1)) slot(i, 0) = {};
    if (thread * SIZE < length) copy(direct::V, thread * SIZE);
    fetch(thread * SIZE);
  }
#pragma unroll 1
  for (unsigned at = thread * SIZE, next = 0; at < length; at = next) {
    next = in_register(at + STEP);
    const int count = Aligned || length - at >= SIZE ? SIZE : length - at;
    Vector<T> in[INPUTS] = {};
    if constexpr (Aligned) {
      __pipeline_wait_prior(0);
#pragma unroll
      for (int i = 1; i < INPUTS; ++i)
        if (reads<DRAWS>(i)) in[i] = slot(i, at);
      fetch(next);
      in[direct::V] = slot(direct::V, at);
    } else {
#pragma unroll
      for (int i = 0; i < INPUTS; ++i)
        if (reads<DRAWS>(i) && p.present >> i & 1) load<false>(from[i] + at, count, in[i]);
    }
    vector<T, DRAWS, Gradient, Aligned>(p, in, to, key, begin, at, count, scale, sums);
  }
  block_sum(sums);
  if (threadIdx.x == 0) {
    float4* out = reinterpret_cast<float4*>(partials) + (b * chunks + chunk) * 2;
    __stcg(out, make_float4(sums[0], sums[1], sums[2], sums[3]));
    __stcg(out + 1, make_float4(sums[4], sums[5], sums[6], 0));
  }
  if (last_to_arrive(&tickets[b], chunks)) finish_sample(p, b, chunks, partials, shares, tickets, results);
}

// An empty batch or empty samples: no block would run.
__global__ void empty_kernel(const __grid_constant__ Problem p, const __grid_constant__ Results out) {
  const double sums[SUMS] = {};
  double total = 0;
  for (int64_t b = 0; b < p.batch; ++b) total += finish(p, b, sums, out);
  *out.loss = float(total);
}

template <class T>
__global__ void scale_kernel(T* gradient, const float* factor, int64_t elements) {
  const float by = *factor;
  if (by == 1.0f) return;
  constexpr int SIZE = Vector<T>::SIZE;
  const int64_t first = (int64_t(blockIdx.x) * THREADS + threadIdx.x) * SIZE, rest = elements - first;
  if (rest <= 0) return;
  Vector<T> value;
  if (rest >= SIZE)
    load<true>(gradient + first, SIZE, value);
  else
    load<false>(gradient + first, int(rest), value);
#pragma unroll
  for (int i = 0; i < SIZE; ++i) narrow(widen(value.value[i]) * by, &value.value[i]);
  if (rest >= SIZE)
    store<true>(gradient + first, SIZE, value);
  else
    store<false>(gradient + first, int(rest), value);
}

int64_t chunks_of(const Problem& p) { return (p.elements + CHUNK - 1) / CHUNK; }

// Whether every row of every tensor begins on 16 bytes and holds whole vectors.
bool is_aligned(const Problem& p, int64_t size) {
  if (p.elements * size % 16) return false;
  for (const direct::Stream& stream : p.in)
    if (stream.data && !on_16_bytes(stream.data, stream.batch_stride, size)) return false;
  return !p.gradient || on_16_bytes(p.gradient, p.elements, size);
}

using Kernel = void (*)(Problem, unsigned, float*, double*, unsigned*, Results);

template <class T, int DRAWS>
Kernel kernel_for(bool gradient, bool aligned) {
  if (aligned) return gradient ? loss_kernel<T, DRAWS, true, true> : loss_kernel<T, DRAWS, false, true>;
  return gradient ? loss_kernel<T, DRAWS, true, false> : loss_kernel<T, DRAWS, false, false>;
}

template <class T>
Kernel kernel_for(const Problem& p, bool aligned) {
  const bool gradient = p.gradient != nullptr;
  if (p.noise[FM] == Source::DRAWN) return kernel_for<T, EVERYTHING>(gradient, aligned);
  if (p.noise[RAND] == Source::DRAWN || p.noise[HARD] == Source::DRAWN)
    return kernel_for<T, NEGATIVES>(gradient, aligned);
  return kernel_for<T, NOTHING>(gradient, aligned);
}

}  // namespace

namespace direct {

int64_t workspace_floats(const Problem& p) { return 8 * p.batch * chunks_of(p) + 2 * p.batch; }

const char* launch_loss(const Problem& p, bool bf16, const Results& results, float* workspace, unsigned* tickets,
                        int device, void* stream) {
  if (cudaError_t error = cudaSetDevice(device)) return outcome(error);
  const auto queue = static_cast<cudaStream_t>(stream);
  const int64_t chunks = chunks_of(p), blocks = p.batch * chunks;
  if (blocks == 0) {
    empty_kernel<<<1, 1, 0, queue>>>(p, results);
    return outcome(cudaGetLastError());
  }
  if (blocks > 0x7fffffff) return "the batch has more than 2^31 chunks of 8192 elements";
  const bool aligned = is_aligned(p, bf16 ? 2 : 4);
  const Kernel kernel = bf16 ? kernel_for<uint16_t>(p, aligned) : kernel_for<float>(p, aligned);
  auto* shares = reinterpret_cast<double*>(workspace + 8 * blocks);
  kernel<<<unsigned(blocks), THREADS, 0, queue>>>(p, unsigned(chunks), workspace, shares, tickets, results);
  return outcome(cudaGetLastError());
}

template <class T>
void scale(void* gradient, const float* factor, int64_t elements, cudaStream_t stream) {
  constexpr int64_t PER_BLOCK = THREADS * Vector<T>::SIZE;
  const unsigned blocks = unsigned((elements + PER_BLOCK - 1) / PER_BLOCK);
  scale_kernel<T><<<blocks, THREADS, 0, stream>>>(static_cast<T*>(gradient), factor, elements);
}

const char* launch_scale(void* gradient, const float* factor, int64_t elements, bool bf16, int device,
                         void* stream) {
  if (cudaError_t error = cudaSetDevice(device)) return outcome(error);
  if (elements == 0) return nullptr;
  (bf16 ? scale<uint16_t> : scale<float>)(gradient, factor, elements, static_cast<cudaStream_t>(stream));
  return outcome(cudaGetLastError());
}

}  // namespace direct
