// K target velocities as an operator of torch.

#include <tuple>

#include "binding.h"
#include "binding_cpu.h"
#include "targets.h"

namespace {

using namespace direct;

// Returns the loss.
float run_on_cpu(const Targets& p, bool bf16, float* distances) {
  const bool stream_gradient = past_caches(p.batch * p.elements, bf16);
  const auto chunk_sums = bf16 ? cpu->targets->bf16 : cpu->targets->floats;
  double total = 0;
  sum_chunks(
      p.batch, p.elements, p.count,
      [&](int64_t b, int64_t chunk, double* sums) { chunk_sums(p, b, chunk, stream_gradient, sums); },
      [&](int64_t b, const double* sums) {
        for (int k = 0; k < p.count; ++k) total += finish_target(p, b, k, sums[k], distances);
      });
  return float(total);
}

std::tuple<Tensor, Tensor, Tensor> target_loss(const Tensor& v, std::vector<Tensor> targets,
                                               std::vector<double> coefficients, Optional weight, double threshold,
                                               bool need_gradient) {
  const bool bf16 = is_bf16(v);
  Targets p{};
  p.count = int32_t(targets.size());
  STD_TORCH_CHECK(p.count >= 1 && p.count <= MAX_TARGETS && coefficients.size() == targets.size(),
                  "direct: give 1 to 64 targets with a coefficient each");
  targets.insert(targets.begin(), v);
  std::vector<Stream> streams;
  for (Tensor& tensor : targets) {
    STD_TORCH_CHECK(alike(tensor, v), "direct: target ", streams.size(), " differs from v in shape or type");
    streams.push_back(walkable(tensor));
  }
  p.in = streams.data();
  p.weight = dense<float>(weight);
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
    Tensor workspace = floats(v, {workspace_floats(p)});
    const Queue queue(v);
    check_launch(launch_targets(p, bf16, data(loss), data(distances), data(workspace), queue.device, queue.stream));
#endif
  }
  return {loss, distances, gradient};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(direct, m) {
  m.def(
      "target_loss(Tensor v, Tensor[] targets, float[] coefficients, Tensor? weight, float threshold, "
      "bool need_gradient) -> (Tensor loss, Tensor distances, Tensor gradient)");
}

STABLE_TORCH_LIBRARY_IMPL(direct, CPU, m) { m.impl("target_loss", TORCH_BOX(&target_loss)); }

#ifdef DIRECT_WITH_CUDA
STABLE_TORCH_LIBRARY_IMPL(direct, CUDA, m) { m.impl("target_loss", TORCH_BOX(&target_loss)); }
#endif
