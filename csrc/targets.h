// K given target velocities in one pass, described without torch; what its kernels share, and their interface.
//
//   e_k  = v - u_k,  m_k = [|e_k| <= threshold],  d_k = (1/n) sum m_k e_k^2
//   loss = (1/B) sum_b sum_k w_bk c_k d_bk
//   dloss/dv = sum_k scale_bk m_k e_k,      scale_bk = w_bk 2 c_k / (B n)
//
// Beside the kernels of velocity_loss.h, not in them: those have four terms, and a loop over any number would
// cost their users registers and time (benchmarks/README.md). Here nothing is drawn, and v stays in registers
// while one target after the other passes.
#pragma once

#include "velocity_loss.h"

namespace direct {

constexpr int MAX_TARGETS = 64;  // what a kernel's parameters hold on a GPU

struct Targets {
  const Stream* in;  // v and then `count` targets, in the host's memory
  int32_t count;
  int32_t weight_terms;  // 0 (ones), 1 or `count`
  const float* weight;   // [B, weight_terms]
  float coefficient[MAX_TARGETS];  // c_k
  float per_element[MAX_TARGETS];  // 2 c_k / (B n)
  float threshold;
  int64_t batch, elements;
  void* gradient;  // [B, n] of the inputs' type, or none
};

// One for each instruction set: the sums [K] of chunk `chunk` of sample `b`, and its part of the gradient.
struct TargetKernels {
  void (*bf16)(const Targets&, int64_t b, int64_t chunk, bool stream_gradient, double* sums);
  void (*floats)(const Targets&, int64_t b, int64_t chunk, bool stream_gradient, double* sums);
};

extern const TargetKernels targets_portable, targets_avx2, targets_avx512;

// On a GPU. Floats of scratch, for the chunks' sums; then as in cuda_kernels.h.
int64_t workspace_floats(const Targets& problem);

const char* launch_targets(const Targets& problem, bool bf16, float* loss, float* distances, float* workspace,
                           int device, void* stream);

}  // namespace direct

namespace {

using direct::Targets;

HD float target_weight(const Targets& p, int64_t b, int k) {
  if (p.weight_terms == 0) return 1.0f;
  return p.weight[p.weight_terms == 1 ? b : b * p.count + k];
}

// What a unit of m_k e_k adds to the gradient.
HD float target_scale(const Targets& p, int64_t b, int k) { return p.per_element[k] * target_weight(p, b, k); }

// Stores d_bk from its sum; returns its share of the loss.
HD double finish_target(const Targets& p, int64_t b, int k, double sum, float* distances) {
  const double d = sum / (p.elements ? double(p.elements) : 1.0);
  distances[b * p.count + k] = float(d);
  return double(target_weight(p, b, k)) * double(p.coefficient[k]) * d / double(p.batch);
}

}  // namespace
