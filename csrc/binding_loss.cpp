// The loss (Eq. 6) as an operator of torch, and on a GPU the scaling of its gradient.

#include <tuple>

#include "binding.h"
#include "binding_cpu.h"
#ifdef DIRECT_WITH_CUDA
#include "cuda_kernels.h"
#endif

namespace {

using namespace direct;

Source source_of(const Optional& latents, const Optional& noise, bool mean) {
  if (!latents) return Source::ABSENT;
  if (noise) return Source::GIVEN;
  return mean ? Source::MEAN : Source::DRAWN;
}

// `inputs` hold the copies of what the CUDA kernel cannot walk, and must live until the launch.
void set_inputs(Problem& p, const Tensor& v, Optional (&inputs)[INPUTS]) {
  for (int i = 0; i < INPUTS; ++i) {
    if (!inputs[i]) continue;
    p.present |= 1u << i;
    STD_TORCH_CHECK(alike(*inputs[i], v), "direct: input ", i, " differs from v in shape or type");
    p.in[i] = walkable(*inputs[i]);
  }
  p.batch = v.size(0);
  p.elements = p.batch ? v.numel() / p.batch : 0;
}

void set_coefficients(Problem& p, const double (&coefficients)[TERMS]) {
  const double elements = double(p.batch) * double(p.elements);
  for (int k = 0; k < TERMS; ++k) {
    p.coefficient[k] = float(coefficients[k]);
    const bool used = p.noise[k] != Source::ABSENT && elements > 0;
    p.per_element[k] = used ? float(2 / elements * coefficients[k]) : 0.0f;
  }
}

void run_on_cpu(const Problem& p, bool bf16, const Results& out) {
  const bool stream_gradient = past_caches(p.batch * p.elements, bf16);
  const auto chunk_sums = bf16 ? cpu->loss_bf16 : cpu->loss_float;
  double total = 0;
  sum_chunks(
      p.batch, p.elements, SUMS,
      [&](int64_t b, int64_t chunk, double* sums) { chunk_sums(p, b, chunk, stream_gradient, sums); },
      [&](int64_t b, const double* sums) { total += finish(p, b, sums, out); });
  *out.loss = float(total);
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
  Optional inputs[INPUTS] = {v, x, eps, x_rand, eps_rand, x_hard, eps_hard, v_ref};
  set_inputs(p, v, inputs);
  set_coefficients(p, {1.0, -lambda_rand, -lambda_hard, lambda_anc});
  p.threshold = float(threshold), p.alpha_dot = float(alpha_dot), p.sigma_dot = float(sigma_dot);
  p.key = dense<int64_t>(key);
  const bool draws = p.noise[FM] == Source::DRAWN || p.noise[RAND] == Source::DRAWN || p.noise[HARD] == Source::DRAWN;
  STD_TORCH_CHECK(key || !draws, "direct: noise must be drawn but key is None");
  p.weight = dense<float>(weight);
  p.weight_terms = !weight ? 0 : weight->dim() == 2 ? TERMS : 1;

  Tensor loss = floats(v, {}), distances = floats(v, {p.batch, 4}), alignment = floats(v, {p.batch, 2});
  Tensor nonfinite = torch::stable::new_empty(v, {p.batch}, ScalarType::Long), gradient = gradient_of(v, need_gradient);
  if (need_gradient) p.gradient = gradient.mutable_data_ptr();
  const Results out{data(loss), data(distances), data(alignment), static_cast<int64_t*>(nonfinite.mutable_data_ptr())};
  if (v.is_cpu()) {
    run_on_cpu(p, bf16, out);
  } else {
#ifdef DIRECT_WITH_CUDA
    Tensor workspace = floats(v, {workspace_floats(p)});
    Tensor tickets = torch::stable::new_zeros(v, {p.batch + 1}, ScalarType::Int);
    const Queue queue(v);
    check_launch(launch_loss(p, bf16, out, data(workspace), static_cast<unsigned*>(tickets.mutable_data_ptr()),
                             queue.device, queue.stream));
#endif
  }
  return {loss, distances, alignment, nonfinite, gradient};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(direct, m) {
  m.def(
      "velocity_loss(Tensor v, Tensor x, Tensor? eps, Tensor? x_rand, Tensor? eps_rand, Tensor? x_hard, "
      "Tensor? eps_hard, Tensor? v_ref, Tensor? key, Tensor? weight, float lambda_rand, float lambda_hard, "
      "float lambda_anc, float threshold, float alpha_dot, float sigma_dot, bool marginal, "
      "bool need_gradient) -> (Tensor loss, Tensor distances, Tensor alignment, Tensor nonfinite, Tensor gradient)");
#ifdef DIRECT_WITH_CUDA
  m.def("scale_(Tensor(a!) gradient, Tensor factor) -> ()");
#endif
}

STABLE_TORCH_LIBRARY_IMPL(direct, CPU, m) { m.impl("velocity_loss", TORCH_BOX(&velocity_loss)); }

#ifdef DIRECT_WITH_CUDA
namespace {

// In place, on the device: nothing is read or written where the factor is 1.
void scale(Tensor gradient, const Tensor& factor) {
  const Queue queue(gradient);
  check_launch(launch_scale(gradient.mutable_data_ptr(), static_cast<const float*>(factor.const_data_ptr()),
                            gradient.numel(), is_bf16(gradient), queue.device, queue.stream));
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(direct, CUDA, m) {
  m.impl("velocity_loss", TORCH_BOX(&velocity_loss));
  m.impl("scale_", TORCH_BOX(&scale));
}
#endif
