// The launcher of csrc/targets_cuda.cu for Python's ctypes: as entry.cpp.
#include <algorithm>
#include <cstdint>

#include "targets_cuda.cu"

extern "C" {

int64_t emulated_targets_workspace(int64_t batch, int64_t elements, int count) {
  Targets p{};
  p.batch = batch, p.elements = elements, p.count = count;
  return direct::workspace_floats(p);
}

// `data` and `batch_strides`: of v and then of `count` targets. `numbers`: c_k [count], 2 c_k / (B n) [count].
const char* emulated_targets(uint64_t seed, const void* const* data, const int64_t* batch_strides, int count,
                             const float* weight, int weight_terms, const float* numbers, float threshold,
                             int64_t batch, int64_t elements, int bf16, void* gradient, float* loss, float* distances,
                             float* workspace) {
  direct::Stream in[1 + direct::MAX_TARGETS];
  Targets p{};
  for (int i = 0; i <= count; ++i) in[i].data = data[i], in[i].batch_stride = batch_strides[i];
  std::copy(numbers, numbers + count, p.coefficient);
  std::copy(numbers + count, numbers + 2 * count, p.per_element);
  p.in = in, p.count = count, p.weight = weight, p.weight_terms = weight_terms, p.threshold = threshold;
  p.batch = batch, p.elements = elements, p.gradient = gradient;
  emulated::begin(seed);
  return direct::launch_targets(p, bf16, loss, distances, workspace, 0, nullptr);
}
}
