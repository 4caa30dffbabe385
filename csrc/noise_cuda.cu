// Normal noise and the point x_t on a GPU: bit for bit what a CPU makes.

#include "cuda_kernels.h"
#include "vectors.h"

namespace {

constexpr int THREADS = 256;

// Normal noise, or with `t` the point x_t = (1 - t) x + t eps, rounded as on a CPU: without contraction. A
// thread takes one vector.
template <class T, bool Aligned>
__global__ void normal_kernel(const int64_t* keys, const float* t, int64_t elements, uint32_t term, const T* x,
                              T* out) {
  constexpr int SIZE = Vector<T>::SIZE, BLOCKS = SIZE / 4;
  const int64_t b = blockIdx.y, first = (int64_t(blockIdx.x) * THREADS + threadIdx.x) * SIZE;
  const int64_t rest = elements - first, at = b * elements + first;
  if (rest <= 0) return;
  const int count = Aligned || rest >= SIZE ? SIZE : int(rest);
  Vector<T> clean = {}, made;
  if (t) load<Aligned>(x + at, count, clean);
  const Key key{uint64_t(keys[2 * b]), uint64_t(keys[2 * b + 1])};
  uint32_t words[BLOCKS][4];
  float eps[SIZE];
#pragma unroll
  for (int j = 0; j < BLOCKS; ++j) set_counter(key, uint64_t(first) / 4 + j, term, words[j]);
  philox<BLOCKS>(key.seed, words);
#pragma unroll
  for (int j = 0; j < BLOCKS; ++j) normals(words[j], &eps[4 * j]);
  const float at_x = t ? __fsub_rn(1.0f, t[b]) : 0, at_eps = t ? t[b] : 0;
#pragma unroll
  for (int i = 0; i < SIZE; ++i) {
    const float path = __fadd_rn(__fmul_rn(at_x, element(clean, i)), __fmul_rn(at_eps, eps[i]));
    narrow(t ? path : eps[i], &made.value[i]);
  }
  store<Aligned>(out + at, count, made);
}

template <class T>
const char* launch_normals(const int64_t* keys, const float* t, int64_t batch, int64_t elements, uint32_t term,
                           const void* x, void* out, int device, void* stream) {
  if (cudaError_t error = cudaSetDevice(device)) return outcome(error);
  if (batch * elements == 0) return nullptr;
  if (batch > 65535) return "the batch is above 65535";
  constexpr int64_t PER_BLOCK = THREADS * Vector<T>::SIZE;
  const dim3 grid(unsigned((elements + PER_BLOCK - 1) / PER_BLOCK), unsigned(batch));
  const bool aligned = on_16_bytes(x, elements, sizeof(T)) && on_16_bytes(out, elements, sizeof(T));
  const auto kernel = aligned ? normal_kernel<T, true> : normal_kernel<T, false>;
  kernel<<<grid, THREADS, 0, static_cast<cudaStream_t>(stream)>>>(keys, t, elements, term, static_cast<const T*>(x),
                                                                  static_cast<T*>(out));
  return outcome(cudaGetLastError());
}

}  // namespace

namespace direct {

const char* launch_normal(const int64_t* keys, int64_t batch, int64_t elements, uint32_t term, float* out,
                          int device, void* stream) {
  return launch_normals<float>(keys, nullptr, batch, elements, term, nullptr, out, device, stream);
}

const char* launch_interpolate(const int64_t* keys, const float* t, bool bf16, int64_t batch, int64_t elements,
                               const void* x, void* out, int device, void* stream) {
  const auto launch = bf16 ? launch_normals<uint16_t> : launch_normals<float>;
  return launch(keys, t, batch, elements, FM, x, out, device, stream);
}

}  // namespace direct
