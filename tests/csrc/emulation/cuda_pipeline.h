// CUDA's asynchronous copies into shared memory, as of its header of this name: see cuda_runtime.h.
#pragma once

#include "cuda_runtime.h"

inline void __pipeline_memcpy_async(void* to, const void* from, size_t size) {
  emulated::copy_async(to, from, size);
}
inline void __pipeline_commit() { emulated::commit(); }
inline void __pipeline_wait_prior(size_t count) { emulated::wait_prior(count); }
