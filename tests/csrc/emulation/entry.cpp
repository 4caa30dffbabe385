// The launchers of csrc/cuda_kernels.cu for Python's ctypes: plain arrays, and the seed of the schedule.
#include <cstdint>

#include "cuda_kernels.cu"

using emulated::begin;

extern "C" {

int64_t emulated_workspace(int64_t batch, int64_t elements) {
  Problem p{};
  p.batch = batch, p.elements = elements;
  return direct::workspace_floats(p);
}

// `numbers`: c_k [4], 2 c_k / (B n) [4], threshold, alpha_dot, sigma_dot. `results`: loss, distances,
// alignment, as of velocity_loss.h.
const char* emulated_loss(uint64_t seed, const void* const* data, const int64_t* batch_strides, const int32_t* noise,
                          const int64_t* key, const float* weight, int weight_terms, const float* numbers,
                          int64_t batch, int64_t elements, int bf16, void* gradient, float* const* results,
                          int64_t* nonfinite, float* workspace, unsigned* tickets) {
  Problem p{};
  for (int i = 0; i < direct::INPUTS; ++i) {
    p.in[i].data = data[i], p.in[i].batch_stride = batch_strides[i];
    p.present |= data[i] ? 1u << i : 0;
  }
  for (int k = 0; k < direct::TERMS; ++k) {
    p.noise[k] = Source(noise[k]);
    p.coefficient[k] = numbers[k], p.per_element[k] = numbers[direct::TERMS + k];
  }
  p.key = key, p.weight = weight, p.weight_terms = weight_terms;
  p.threshold = numbers[8], p.alpha_dot = numbers[9], p.sigma_dot = numbers[10];
  p.batch = batch, p.elements = elements, p.gradient = gradient;
  begin(seed);
  return direct::launch_loss(p, bf16, {results[0], results[1], results[2], nonfinite}, workspace, tickets, 0, nullptr);
}

const char* emulated_scale(uint64_t seed, void* gradient, const float* factor, int64_t elements, int bf16) {
  begin(seed);
  return direct::launch_scale(gradient, factor, elements, bf16, 0, nullptr);
}
}
