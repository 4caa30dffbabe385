// Counter-based noise and the point x_t on the path as operators of torch (direct/noise.py).

#include <algorithm>

#include "binding.h"
#include "binding_cpu.h"
#ifdef DIRECT_WITH_CUDA
#include "cuda_kernels.h"
#endif

namespace {

using namespace direct;

Key row(const int64_t* keys, int64_t b) { return Key{uint64_t(keys[2 * b]), uint64_t(keys[2 * b + 1])}; }

// work(b, first, count) of each chunk's elements, in threads.
template <class Work>
void for_each_range(int64_t batch, int64_t elements, const Work& work) {
  for_each_chunk(batch, elements, [&](int64_t b, int64_t chunk) {
    work(b, chunk * CHUNK, std::min(elements - chunk * CHUNK, CHUNK));
  });
}

// Normal noise [B, elements] in float32.
Tensor normal(const Tensor& key, int64_t elements, int64_t term) {
  const int64_t batch = key.size(0);
  Tensor keys = torch::stable::contiguous(key), result = floats(key, {batch, elements});
  const auto* rows = static_cast<const int64_t*>(keys.const_data_ptr());
  float* out = data(result);
  if (key.is_cpu()) {
    for_each_range(batch, elements, [&](int64_t b, int64_t first, int64_t count) {
      cpu->normal(row(rows, b), uint32_t(term), first, count, out + b * elements + first);
    });
  } else {
#ifdef DIRECT_WITH_CUDA
    const Queue queue(key);
    check_launch(launch_normal(rows, batch, elements, uint32_t(term), out, queue.device, queue.stream));
#endif
  }
  return result;
}

// x_t = (1 - t) x + t eps, with x [B, ...] contiguous and t [B] float32.
Tensor interpolate(const Tensor& latents, const Tensor& key, const Tensor& t) {
  const bool bf16 = is_bf16(latents);
  Tensor x = torch::stable::contiguous(latents), keys = torch::stable::contiguous(key);
  Tensor times = torch::stable::contiguous(t), result = torch::stable::empty_like(x);
  const int64_t batch = x.size(0), elements = batch ? x.numel() / batch : 0;
  const auto* rows = static_cast<const int64_t*>(keys.const_data_ptr());
  const auto* at = static_cast<const float*>(times.const_data_ptr());
  const void* from = x.const_data_ptr();
  void* to = result.mutable_data_ptr();
  if (x.is_cpu()) {
    for_each_range(batch, elements, [&](int64_t b, int64_t first, int64_t count) {
      const int64_t here = b * elements + first;
      if (bf16)
        cpu->interpolate_bf16(row(rows, b), at[b], first, count, static_cast<const uint16_t*>(from) + here,
                              static_cast<uint16_t*>(to) + here);
      else
        cpu->interpolate_float(row(rows, b), at[b], first, count, static_cast<const float*>(from) + here,
                               static_cast<float*>(to) + here);
    });
  } else {
#ifdef DIRECT_WITH_CUDA
    const Queue queue(x);
    check_launch(launch_interpolate(rows, at, bf16, batch, elements, from, to, queue.device, queue.stream));
#endif
  }
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(direct, m) {
  m.def("normal(Tensor key, int elements, int term) -> Tensor");
  m.def("interpolate(Tensor latents, Tensor key, Tensor t) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(direct, CPU, m) {
  m.impl("normal", TORCH_BOX(&normal));
  m.impl("interpolate", TORCH_BOX(&interpolate));
}

#ifdef DIRECT_WITH_CUDA
STABLE_TORCH_LIBRARY_IMPL(direct, CUDA, m) {
  m.impl("normal", TORCH_BOX(&normal));
  m.impl("interpolate", TORCH_BOX(&interpolate));
}
#endif
