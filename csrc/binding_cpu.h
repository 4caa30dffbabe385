// How the bindings run the CPU kernels: chunk by chunk, in torch's threads, by the instruction set in use.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <vector>

#include "cpu_kernels.h"

namespace direct {

extern const CpuKernels* cpu;  // binding.cpp chooses them

inline int64_t chunks_of(int64_t elements) { return (elements + CHUNK - 1) / CHUNK; }

// Gradients are written past the caches only where they would not stay in them anyway.
inline bool past_caches(int64_t elements, bool bf16) { return elements * (bf16 ? 2 : 4) >= (8 << 20); }

// work(b, chunk), each a task of a thread; a task below 32768 elements is not worth a thread.
template <class Work>
void for_each_chunk(int64_t batch, int64_t elements, const Work& work) {
  const int64_t chunks = chunks_of(elements), size = std::min(elements, CHUNK);
  if (batch * chunks == 0) return;
  torch::stable::parallel_for(0, batch * chunks, (32768 + size - 1) / size, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) work(task / chunks, task % chunks);
  });
}

// work(b, chunk, sums) writes a chunk's `count` sums, in threads; finish(b, sums) takes each sample's, in the
// order of the samples. Chunks are added in their order, so the bits do not depend on the threads.
template <class Work, class Finish>
void sum_chunks(int64_t batch, int64_t elements, int count, const Work& work, const Finish& finish) {
  const int64_t chunks = chunks_of(elements);
  std::vector<double> partial(size_t(batch * chunks * count)), sums(count);
  for_each_chunk(batch, elements, [&](int64_t b, int64_t chunk) {
    work(b, chunk, &partial[size_t((b * chunks + chunk) * count)]);
  });
  for (int64_t b = 0; b < batch; ++b) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
      for (int s = 0; s < count; ++s) sums[s] += partial[size_t((b * chunks + chunk) * count + s)];
    finish(b, sums.data());
  }
}

}  // namespace direct
