// The one file that knows torch: schemas, and tensors to the plain structures of the kernels.
//
// Only torch's stable ABI (2.11) is used, so the library loads in every later torch. The behaviour under
// autograd and torch.compile is registered in direct/loss/native.py.

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "cpu_kernels.h"
#include "targets.h"
#ifdef DIRECT_WITH_CUDA
#include "cuda_kernels.h"

// A CPU build of torch lacks this symbol; weak, it is only looked at when a CUDA tensor arrives.
#pragma weak aoti_torch_get_current_cuda_stream
extern "C" AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** stream);
#endif

// A hash of this folder's code, which results note: direct/common/fingerprint.py finds it in the file.
extern "C" __attribute__((used)) const char direct_sources[] = "direct-sources:" DIRECT_SOURCES;
// What setup.py noted about CUDA: its version and architectures, or why there is none (direct/extension.py).
extern "C" __attribute__((used)) const char direct_cuda[] = "direct-cuda:" DIRECT_CUDA;

namespace {

using direct::CpuKernels;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Optional = std::optional<Tensor>;

const CpuKernels* available(const std::string& name) {
#ifdef DIRECT_HAS_AVX512
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512 && (name.empty() || name == "avx512")) return &direct::kernels_avx512;
#endif
#ifdef DIRECT_HAS_AVX2
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2 && (name.empty() || name == "avx2")) return &direct::kernels_avx2;
#endif
  return name.empty() || name == "portable" ? &direct::kernels_portable : nullptr;
}

const CpuKernels* cpu = available("");

// The instruction set in use; a name switches to it where this processor has it (for tests).
std::string instruction_set(std::string name) {
  if (const CpuKernels* found = name.empty() ? cpu : available(name)) cpu = found;
  return cpu->name;
}

// A tensor as [B, n]: neighbouring dimensions that can be walked as one are merged.
direct::Stream stream_of(const Tensor& tensor) {
  direct::Stream stream;
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
      STD_TORCH_CHECK(dims < direct::MAX_DIMS, "direct: more than 8 dimensions that cannot be merged");
      stream.size[dims] = size;
      stream.stride[dims++] = stride;
    }
  }
  const bool dense = dims == 0 || (dims == 1 && stream.stride[0] == 1) || tensor.numel() == 0;
  stream.dims = dense ? 0 : dims;
  return stream;
}

bool is_bf16(const Tensor& tensor) {
  const ScalarType type = tensor.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::BFloat16 || type == ScalarType::Float, "direct: use bfloat16 or float32");
  return type == ScalarType::BFloat16;
}

Tensor floats(const Tensor& like, std::vector<int64_t> size) {
  return torch::stable::new_empty(like, size, ScalarType::Float);
}

// Where v's gradient will lie; of no elements where nobody needs it.
Tensor gradient_of(const Tensor& v, bool needed) {
  const auto sizes = v.sizes();
  const std::vector<int64_t> shape(sizes.begin(), sizes.end());
  return torch::stable::new_empty(v, needed ? shape : std::vector<int64_t>{0});
}

float* data(Tensor& tensor) { return static_cast<float*>(tensor.mutable_data_ptr()); }

// The tensor and its stream; on a GPU a copy of what its kernels cannot walk, which must live until the launch.
direct::Stream walkable(Tensor& tensor) {
  const direct::Stream stream = stream_of(tensor);
  if (!stream.dims || tensor.is_cpu()) return stream;
  tensor = torch::stable::contiguous(tensor);
  return stream_of(tensor);
}

// Thread tasks of one chunk each; a task below 32768 elements is not worth a thread.
template <class F>
void for_each_chunk(int64_t batch, int64_t elements, const F& work) {
  const int64_t chunks = (elements + direct::CHUNK - 1) / direct::CHUNK;
  const int64_t size = elements < direct::CHUNK ? elements : direct::CHUNK;
  if (batch * chunks == 0) return;
  torch::stable::parallel_for(0, batch * chunks, (32768 + size - 1) / size, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) work(task / chunks, task % chunks, task);
  });
}

// Gradients are written past the caches only where they would not stay in them anyway.
bool past_caches(int64_t elements, bool bf16) { return elements * (bf16 ? 2 : 4) >= (8 << 20); }

void run_on_cpu(const Problem& p, bool bf16, const Results& out) {
  const int64_t chunks = (p.elements + direct::CHUNK - 1) / direct::CHUNK;
  std::vector<double> partial(size_t(p.batch * chunks * direct::SUMS));
  const bool stream_gradient = past_caches(p.batch * p.elements, bf16);
  const auto chunk_sums = bf16 ? cpu->loss_bf16 : cpu->loss_float;
  for_each_chunk(p.batch, p.elements, [&](int64_t b, int64_t chunk, int64_t task) {
    chunk_sums(p, b, chunk, stream_gradient, &partial[size_t(task * direct::SUMS)]);
  });
  double total = 0;
  for (int64_t b = 0; b < p.batch; ++b) {
    double sums[direct::SUMS] = {};
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
      for (int s = 0; s < direct::SUMS; ++s) sums[s] += partial[size_t((b * chunks + chunk) * direct::SUMS + s)];
    total += finish(p, b, sums, out);
  }
  *out.loss = float(total);
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

void check_launch(const char* error) { STD_TORCH_CHECK(!error, "direct: CUDA: ", error); }
#endif

Source source_of(const Optional& latents, const Optional& noise, bool mean) {
  if (!latents) return Source::ABSENT;
  if (noise) return Source::GIVEN;
  return mean ? Source::MEAN : Source::DRAWN;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> velocity_loss(
    const Tensor& v, const Tensor& x, Optional eps, Optional x_rand, Optional eps_rand, Optional x_hard,
    Optional eps_hard, Optional v_ref, Optional key, Optional weight, double lambda_rand, double lambda_hard,
    double lambda_anc, double threshold, double alpha_dot, double sigma_dot, bool marginal, bool need_gradient) {
  const bool bf16 = is_bf16(v);
  Problem p{};
  p.noise[FM] = eps ? Source::GIVEN : Source::DRAWN;
  p.noise[RAND] = source_of(x_rand, eps_rand, marginal);
  p.noise[HARD] = source_of(x_hard, eps_hard, marginal);
  p.noise[ANC] = v_ref ? Source::GIVEN : Source::ABSENT;

  // Copies of what the CUDA kernel cannot walk, alive until the launch.
  Optional inputs[direct::INPUTS] = {v, x, eps, x_rand, eps_rand, x_hard, eps_hard, v_ref};
  for (int i = 0; i < direct::INPUTS; ++i) {
    if (!inputs[i]) continue;
    p.present |= 1u << i;
    STD_TORCH_CHECK(inputs[i]->dim() == v.dim() && inputs[i]->numel() == v.numel() &&
                        inputs[i]->scalar_type() == v.scalar_type(),
                    "direct: input ", i, " differs from v in shape or type");
    p.in[i] = walkable(*inputs[i]);
  }
  if (key) key = torch::stable::contiguous(*key);
  if (weight) weight = torch::stable::contiguous(*weight);
  const bool draws = p.noise[FM] == Source::DRAWN || p.noise[RAND] == Source::DRAWN || p.noise[HARD] == Source::DRAWN;
  STD_TORCH_CHECK(key || !draws, "direct: noise must be drawn but key is None");
  if (key) p.key = static_cast<const int64_t*>(key->const_data_ptr());
  if (weight) p.weight = static_cast<const float*>(weight->const_data_ptr());
  p.weight_terms = !weight ? 0 : weight->dim() == 2 ? 4 : 1;
  const double coefficients[] = {1.0, -lambda_rand, -lambda_hard, lambda_anc};
  p.threshold = float(threshold), p.alpha_dot = float(alpha_dot), p.sigma_dot = float(sigma_dot);
  p.batch = v.size(0);
  p.elements = p.batch ? v.numel() / p.batch : 0;
  for (int k = 0; k < direct::TERMS; ++k) {
    p.coefficient[k] = float(coefficients[k]);
    const bool used = p.noise[k] != Source::ABSENT && v.numel();
    p.per_element[k] = used ? float(2 / (double(p.batch) * double(p.elements)) * coefficients[k]) : 0.0f;
  }

  Tensor loss = floats(v, {}), distances = floats(v, {p.batch, 4}), alignment = floats(v, {p.batch, 2});
  Tensor nonfinite = torch::stable::new_empty(v, {p.batch}, ScalarType::Long), gradient = gradient_of(v, need_gradient);
  if (need_gradient) p.gradient = gradient.mutable_data_ptr();
  const Results out{data(loss), data(distances), data(alignment), static_cast<int64_t*>(nonfinite.mutable_data_ptr())};
  if (v.is_cpu()) {
    run_on_cpu(p, bf16, out);
  } else {
#ifdef DIRECT_WITH_CUDA
    Tensor workspace = floats(v, {direct::workspace_floats(p)});
    Tensor tickets = torch::stable::new_zeros(v, {p.batch + 1}, ScalarType::Int);
    const Queue queue(v);
    check_launch(direct::launch_loss(p, bf16, out, data(workspace), static_cast<unsigned*>(tickets.mutable_data_ptr()),
                                     queue.device, queue.stream));
#endif
  }
  return {loss, distances, alignment, nonfinite, gradient};
}

// Returns the loss.
float run_on_cpu(const direct::Targets& p, bool bf16, float* distances) {
  const int64_t chunks = (p.elements + direct::CHUNK - 1) / direct::CHUNK;
  std::vector<double> partial(size_t(p.batch * chunks * p.count));
  const bool stream_gradient = past_caches(p.batch * p.elements, bf16);
  const auto chunk_sums = bf16 ? cpu->targets->bf16 : cpu->targets->floats;
  for_each_chunk(p.batch, p.elements, [&](int64_t b, int64_t chunk, int64_t task) {
    chunk_sums(p, b, chunk, stream_gradient, &partial[size_t(task * p.count)]);
  });
  double total = 0;
  for (int64_t b = 0; b < p.batch; ++b)
    for (int k = 0; k < p.count; ++k) {
      double sum = 0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += partial[size_t((b * chunks + chunk) * p.count + k)];
      total += finish_target(p, b, k, sum, distances);
    }
  return float(total);
}

std::tuple<Tensor, Tensor, Tensor> target_loss(const Tensor& v, std::vector<Tensor> targets,
                                               std::vector<double> coefficients, Optional weight, double threshold,
                                               bool need_gradient) {
  const bool bf16 = is_bf16(v);
  direct::Targets p{};
  p.count = int32_t(targets.size());
  STD_TORCH_CHECK(p.count >= 1 && p.count <= direct::MAX_TARGETS && coefficients.size() == targets.size(),
                  "direct: give 1 to 64 targets with a coefficient each");
  targets.insert(targets.begin(), v);
  std::vector<direct::Stream> streams;
  for (Tensor& tensor : targets) {
    STD_TORCH_CHECK(tensor.dim() == v.dim() && tensor.numel() == v.numel() && tensor.scalar_type() == v.scalar_type(),
                    "direct: target ", streams.size(), " differs from v in shape or type");
    streams.push_back(walkable(tensor));
  }
  p.in = streams.data();
  if (weight) weight = torch::stable::contiguous(*weight);
  if (weight) p.weight = static_cast<const float*>(weight->const_data_ptr());
  p.weight_terms = !weight ? 0 : weight->dim() == 2 ? p.count : 1;
  p.threshold = float(threshold);
  p.batch = v.size(0);
  p.elements = p.batch ? v.numel() / p.batch : 0;
  for (int k = 0; k < p.count; ++k) {
    p.coefficient[k] = float(coefficients[k]);
    p.per_element[k] = v.numel() ? float(2 / double(v.numel()) * coefficients[k]) : 0.0f;
  }
  Tensor loss = floats(v, {}), distances = floats(v, {p.batch, p.count}), gradient = gradient_of(v, need_gradient);
  if (need_gradient) p.gradient = gradient.mutable_data_ptr();
  if (v.is_cpu()) {
    *data(loss) = run_on_cpu(p, bf16, data(distances));
  } else {
#ifdef DIRECT_WITH_CUDA
    Tensor workspace = floats(v, {direct::workspace_floats(p)});
    const Queue queue(v);
    check_launch(direct::launch_targets(p, bf16, data(loss), data(distances), data(workspace), queue.device,
                                        queue.stream));
#endif
  }
  return {loss, distances, gradient};
}

Key row(const int64_t* keys, int64_t b) { return Key{uint64_t(keys[2 * b]), uint64_t(keys[2 * b + 1])}; }

// Normal noise [B, elements] in float32.
Tensor normal(const Tensor& key, int64_t elements, int64_t term) {
  const int64_t batch = key.size(0);
  Tensor keys = torch::stable::contiguous(key), result = floats(key, {batch, elements});
  const auto* rows = static_cast<const int64_t*>(keys.const_data_ptr());
  auto* out = static_cast<float*>(result.mutable_data_ptr());
  if (key.is_cpu()) {
    for_each_chunk(batch, elements, [&](int64_t b, int64_t chunk, int64_t) {
      const int64_t first = chunk * direct::CHUNK, rest = elements - first;
      const int64_t count = rest < direct::CHUNK ? rest : direct::CHUNK;
      cpu->normal(row(rows, b), uint32_t(term), first, count, out + b * elements + first);
    });
  } else {
#ifdef DIRECT_WITH_CUDA
    const Queue queue(key);
    check_launch(direct::launch_normal(rows, batch, elements, uint32_t(term), out, queue.device, queue.stream));
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
  if (x.is_cpu()) {
    for_each_chunk(batch, elements, [&](int64_t b, int64_t chunk, int64_t) {
      const int64_t first = chunk * direct::CHUNK, rest = elements - first, here = b * elements + first;
      const int64_t count = rest < direct::CHUNK ? rest : direct::CHUNK;
      const void* from = x.const_data_ptr();
      void* to = result.mutable_data_ptr();
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
    check_launch(direct::launch_interpolate(rows, at, bf16, batch, elements, x.const_data_ptr(),
                                            result.mutable_data_ptr(), queue.device, queue.stream));
#endif
  }
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY(direct, m) {
  m.def(
      "velocity_loss(Tensor v, Tensor x, Tensor? eps, Tensor? x_rand, Tensor? eps_rand, Tensor? x_hard, "
      "Tensor? eps_hard, Tensor? v_ref, Tensor? key, Tensor? weight, float lambda_rand, float lambda_hard, "
      "float lambda_anc, float threshold, float alpha_dot, float sigma_dot, bool marginal, "
      "bool need_gradient) -> (Tensor loss, Tensor distances, Tensor alignment, Tensor nonfinite, Tensor gradient)");
  m.def(
      "target_loss(Tensor v, Tensor[] targets, float[] coefficients, Tensor? weight, float threshold, "
      "bool need_gradient) -> (Tensor loss, Tensor distances, Tensor gradient)");
  m.def("normal(Tensor key, int elements, int term) -> Tensor");
  m.def("interpolate(Tensor latents, Tensor key, Tensor t) -> Tensor");
  m.def("instruction_set(str name) -> str");
#ifdef DIRECT_WITH_CUDA
  m.def("scale_(Tensor(a!) gradient, Tensor factor) -> ()");
#endif
}

STABLE_TORCH_LIBRARY_IMPL(direct, CPU, m) {
  m.impl("velocity_loss", TORCH_BOX(&velocity_loss));
  m.impl("target_loss", TORCH_BOX(&target_loss));
  m.impl("normal", TORCH_BOX(&normal));
  m.impl("interpolate", TORCH_BOX(&interpolate));
}

STABLE_TORCH_LIBRARY_IMPL(direct, CompositeExplicitAutograd, m) {
  m.impl("instruction_set", TORCH_BOX(&instruction_set));
}

#ifdef DIRECT_WITH_CUDA
namespace {
// In place, on the device: nothing is read or written where the factor is 1.
void scale(Tensor gradient, const Tensor& factor) {
  const Queue queue(gradient);
  check_launch(direct::launch_scale(gradient.mutable_data_ptr(), static_cast<const float*>(factor.const_data_ptr()),
                                    gradient.numel(), is_bf16(gradient), queue.device, queue.stream));
}
}  // namespace

STABLE_TORCH_LIBRARY_IMPL(direct, CUDA, m) {
  m.impl("velocity_loss", TORCH_BOX(&velocity_loss));
  m.impl("target_loss", TORCH_BOX(&target_loss));
  m.impl("normal", TORCH_BOX(&normal));
  m.impl("interpolate", TORCH_BOX(&interpolate));
  m.impl("scale_", TORCH_BOX(&scale));
}
#endif
