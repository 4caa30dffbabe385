// K targets on a GPU: v and each target read once, the gradient written once. Bytes per element in bf16:
// 4 + 2 K.
//
// Layout: a block of 256 threads owns a chunk of 4096 elements, 16 a thread, whatever the device: so the sums'
// order is the size's alone. A thread keeps its elements of v, and their gradient in float32, in registers
// while the targets pass; what is in flight are the 32 or 64 bytes of one target a thread, and its block's
// neighbours on the SM. A warp's sum of a target goes to shared memory, the block's to `partials`
// [B, K, chunks]; a second, small kernel adds the chunks in order, in double, and makes the loss. No atomics.
//
// Two variants per type: `Aligned`, where every row begins on 16 bytes and holds whole vectors, has 128-bit
// accesses alone; the other takes any size element by element, and in float32 with a gradient more registers.

#include "targets.h"
#include "vectors.h"

namespace {

using direct::MAX_TARGETS;

constexpr int THREADS = 256, WARPS = THREADS / 32;
constexpr int FINISHERS = 1024, FINISHER_WARPS = FINISHERS / 32;  // threads of the second kernel
constexpr int64_t CHUNK = 4096;

// Where v and the targets lie: a kernel's parameters, which hold no more.
struct Rows {
  const void* data[1 + MAX_TARGETS];
  int64_t stride[1 + MAX_TARGETS];  // from sample to sample, in elements
};

// A thread's elements of a chunk of `length` elements that begins at `from`; zeros past the end.
template <bool Aligned, class T, int COUNT>
__device__ __forceinline__ void load_all(const T* from, int length, Vector<T> (&out)[COUNT]) {
  constexpr int SIZE = Vector<T>::SIZE;
#pragma unroll
  for (int j = 0; j < COUNT; ++j) {
    const int at = (j * THREADS + int(threadIdx.x)) * SIZE;
    out[j] = {};
    if (at < length) load<Aligned>(from + at, length - at, out[j]);
  }
}

template <class T, bool Gradient, bool Aligned>
__global__ void __launch_bounds__(THREADS, Aligned || !Gradient || sizeof(T) == 2 ? 4 : 3)
    target_kernel(const __grid_constant__ Targets p, const __grid_constant__ Rows rows, unsigned chunks,
                  float* partials) {
  constexpr int SIZE = Vector<T>::SIZE, COUNT = int(CHUNK) / (THREADS * SIZE);
  const int64_t b = blockIdx.x / chunks, chunk = blockIdx.x % chunks, begin = chunk * CHUNK;
  const int length = int(p.elements - begin < CHUNK ? p.elements - begin : CHUNK);
  const auto row = [&](int i) { return static_cast<const T*>(rows.data[i]) + b * rows.stride[i] + begin; };
  __shared__ float sums[WARPS][MAX_TARGETS];
  Vector<T> v[COUNT], u[COUNT];
  float g[COUNT][SIZE] = {};
  load_all<Aligned>(row(0), length, v);
#pragma unroll 1
  for (int k = 0; k < p.count; ++k) {
    load_all<Aligned>(row(1 + k), length, u);
    const float scale = target_scale(p, b, k);
    float sum = 0;
#pragma unroll
    for (int j = 0; j < COUNT; ++j)
#pragma unroll
      for (int i = 0; i < SIZE; ++i) {
        const float e = masked(element(v[j], i) - element(u[j], i), p.threshold);
        sum = fmaf(e, e, sum);
        g[j][i] = fmaf(scale, e, g[j][i]);
      }
#pragma unroll
    for (int offset = 16; offset; offset /= 2) sum += __shfl_down_sync(~0u, sum, offset);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32][k] = sum;
  }
  if constexpr (Gradient) {
    T* to = static_cast<T*>(p.gradient) + b * p.elements + begin;
#pragma unroll
    for (int j = 0; j < COUNT; ++j) {
      const int at = (j * THREADS + int(threadIdx.x)) * SIZE;
      Vector<T> gradient;
#pragma unroll
      for (int i = 0; i < SIZE; i += 2) narrow_pair(g[j][i], g[j][i + 1], &gradient.value[i]);
      if (at < length) store<Aligned>(to + at, length - at, gradient);
    }
  }
  __syncthreads();
  if (int(threadIdx.x) >= p.count) return;
  float sum = 0;
  for (int warp = 0; warp < WARPS; ++warp) sum += sums[warp][threadIdx.x];
  partials[(b * p.count + threadIdx.x) * chunks + chunk] = sum;
}

// One block: a warp adds the chunks of one target of one sample after the other.
__global__ void __launch_bounds__(FINISHERS)
    finish_kernel(const __grid_constant__ Targets p, unsigned chunks, const float* partials, float* loss,
                  float* distances) {
  __shared__ double shares[FINISHER_WARPS];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  double share = 0;
  for (int64_t row = warp; row < p.batch * p.count; row += FINISHER_WARPS) {
    double sum = 0;
    for (int64_t chunk = lane; chunk < chunks; chunk += 32) sum += double(partials[row * chunks + chunk]);
#pragma unroll
    for (int offset = 16; offset; offset /= 2) sum += __shfl_down_sync(~0u, sum, offset);
    if (lane == 0) share += finish_target(p, row / p.count, int(row % p.count), sum, distances);
  }
  if (lane == 0) shares[warp] = share;
  __syncthreads();
  if (threadIdx.x != 0) return;
  double total = 0;
  for (int i = 0; i < FINISHER_WARPS; ++i) total += shares[i];
  *loss = float(total);
}

int64_t chunks_of(const Targets& p) { return (p.elements + CHUNK - 1) / CHUNK; }

bool is_aligned(const Targets& p, int64_t size) {
  if (p.elements * size % 16) return false;
  for (int i = 0; i <= p.count; ++i)
    if (!on_16_bytes(p.in[i].data, p.in[i].batch_stride, size)) return false;
  return !p.gradient || on_16_bytes(p.gradient, p.elements, size);
}

template <class T>
auto kernel_for(const Targets& p) {
  if (is_aligned(p, sizeof(T))) return p.gradient ? target_kernel<T, true, true> : target_kernel<T, false, true>;
  return p.gradient ? target_kernel<T, true, false> : target_kernel<T, false, false>;
}

}  // namespace

namespace direct {

int64_t workspace_floats(const Targets& p) { return p.batch * p.count * chunks_of(p); }

const char* launch_targets(const Targets& p, bool bf16, float* loss, float* distances, float* workspace, int device,
                           void* stream) {
  if (cudaError_t error = cudaSetDevice(device)) return outcome(error);
  const auto queue = static_cast<cudaStream_t>(stream);
  const int64_t chunks = chunks_of(p), blocks = p.batch * chunks;
  if (blocks > 0x7fffffff) return "the batch has more than 2^31 chunks of 4096 elements";
  Rows rows{};
  for (int i = 0; i <= p.count; ++i) rows.data[i] = p.in[i].data, rows.stride[i] = p.in[i].batch_stride;
  const auto kernel = bf16 ? kernel_for<uint16_t>(p) : kernel_for<float>(p);
  if (blocks) kernel<<<unsigned(blocks), THREADS, 0, queue>>>(p, rows, unsigned(chunks), workspace);
  finish_kernel<<<1, FINISHERS, 0, queue>>>(p, unsigned(chunks), workspace, loss, distances);
  return outcome(cudaGetLastError());
}

}  // namespace direct
