// The launchers of csrc/noise_cuda.cu for Python's ctypes: as entry.cpp.
#include <cstdint>

#include "noise_cuda.cu"

using emulated::begin;

extern "C" {

const char* emulated_normal(uint64_t seed, const int64_t* keys, int64_t batch, int64_t elements, uint32_t term,
                            float* out) {
  begin(seed);
  return direct::launch_normal(keys, batch, elements, term, out, 0, nullptr);
}

const char* emulated_interpolate(uint64_t seed, const int64_t* keys, const float* t, int bf16, int64_t batch,
                                 int64_t elements, const void* x, void* out) {
  begin(seed);
  return direct::launch_interpolate(keys, t, bf16, batch, elements, x, out, 0, nullptr);
}
}
