// What the bindings share: torch's tensors as the plain structures of the kernels, and torch's CUDA stream.
//
// Only torch's stable ABI (2.11) is used, so the library loads in every later torch.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>
#include <vector>

#include "velocity_loss.h"

#ifdef DIRECT_WITH_CUDA
// A CPU build of torch lacks this symbol; weak, it is only looked at when a CUDA tensor arrives.
#pragma weak aoti_torch_get_current_cuda_stream
extern "C" AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** stream);
#endif

namespace direct {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Optional = std::optional<Tensor>;

inline bool is_bf16(const Tensor& tensor) {
  const ScalarType type = tensor.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::BFloat16 || type == ScalarType::Float, "direct: use bfloat16 or float32");
  return type == ScalarType::BFloat16;
}

inline bool alike(const Tensor& a, const Tensor& b) {
  return a.dim() == b.dim() && a.numel() == b.numel() && a.scalar_type() == b.scalar_type();
}

// A tensor as [B, n]: neighbouring dimensions that can be walked as one are merged.
inline Stream stream_of(const Tensor& tensor) {
  Stream stream;
  stream.data = tensor.const_data_ptr();
  stream.batch_stride = tensor.stride(0);
  int32_t dims = 0;
  for (int64_t d = 1; d < tensor.dim(); ++d) {
    const int64_t size = tensor.size(d), stride = tensor.stride(d);
    if (size == 1) continue;
    if (dims && stream.stride[dims - 1] == size * stride) {
      stream.size[dims - 1] *= size;
      stream.stride[dims - 1] = stride;
    } else {
      STD_TORCH_CHECK(dims < MAX_DIMS, "direct: more than 8 dimensions that cannot be merged");
      stream.size[dims] = size;
      stream.stride[dims++] = stride;
    }
  }
  const bool dense = dims == 0 || (dims == 1 && stream.stride[0] == 1) || tensor.numel() == 0;
  stream.dims = dense ? 0 : dims;
  return stream;
}

// The tensor's stream; on a GPU that of a copy where its kernels cannot walk the tensor. The copy takes the
// tensor's place, and must live until the launch.
inline Stream walkable(Tensor& tensor) {
  const Stream stream = stream_of(tensor);
  if (!stream.dims || tensor.is_cpu()) return stream;
  tensor = torch::stable::contiguous(tensor);
  return stream_of(tensor);
}

// The elements side by side, of a copy if need be, which takes the tensor's place; null where there is none.
template <class T>
const T* dense(Optional& tensor) {
  if (!tensor) return nullptr;
  tensor = torch::stable::contiguous(*tensor);
  return static_cast<const T*>(tensor->const_data_ptr());
}

inline Tensor floats(const Tensor& like, std::vector<int64_t> size) {
  return torch::stable::new_empty(like, size, ScalarType::Float);
}

inline float* data(Tensor& tensor) { return static_cast<float*>(tensor.mutable_data_ptr()); }

// Where v's gradient will lie; of no elements where nobody needs it.
inline Tensor gradient_of(const Tensor& v, bool needed) {
  const auto sizes = v.sizes();
  const std::vector<int64_t> shape(sizes.begin(), sizes.end());
  return torch::stable::new_empty(v, needed ? shape : std::vector<int64_t>{0});
}

#ifdef DIRECT_WITH_CUDA
// For the time of a launch: the tensor's device is the current one, and this is torch's stream on it.
struct Queue {
  explicit Queue(const Tensor& tensor) : device(tensor.get_device_index()), guard(device) {
    STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream, "direct: this build of torch has no CUDA");
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  }
  int32_t device;
  torch::stable::accelerator::DeviceGuard guard;  // the caller's device comes back with it
  void* stream = nullptr;
};

inline void check_launch(const char* error) { STD_TORCH_CHECK(!error, "direct: CUDA: ", error); }
#endif

}  // namespace direct
