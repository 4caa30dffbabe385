// The CPU kernels' interface. Their source files are compiled once per instruction set; the binding picks.
#pragma once

#include "targets.h"
#include "velocity_loss.h"

namespace direct {

// Elements per chunk: the unit of work and of summation, whatever the number of threads. With seven
// streams of bf16 a chunk is 230 kB, which stays in the second-level cache while it is worked on.
constexpr int64_t CHUNK = 16384;

struct CpuKernels {
  const char* name;
  // All SUMS of chunk `chunk` of sample `b`, and its part of the gradient.
  void (*loss_bf16)(const Problem&, int64_t b, int64_t chunk, bool stream_gradient, double* sums);
  void (*loss_float)(const Problem&, int64_t b, int64_t chunk, bool stream_gradient, double* sums);
  // out[first : first + count] of a sample's noise; `first` is a multiple of 4.
  void (*normal)(Key, uint32_t term, int64_t first, int64_t count, float* out);
  // x_t = (1 - t) x + t eps for such a range.
  void (*interpolate_bf16)(Key, float t, int64_t first, int64_t count, const uint16_t* x, uint16_t* out);
  void (*interpolate_float)(Key, float t, int64_t first, int64_t count, const float* x, float* out);
  const TargetKernels* targets;
};

extern const CpuKernels kernels_portable, kernels_avx2, kernels_avx512;

}  // namespace direct
