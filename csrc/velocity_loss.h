// One evaluation of the loss (Eq. 6), described without torch; the arithmetic both kernels share.
//
//   e_k  = v - u_k,  m_k = [|e_k| <= threshold]
//   sums = (sum m_k e_k^2 for each of 4 terms, sum m_fm m_k e_fm e_k for rand and hard,
//           how many elements of v are not finite: the mask hides these)
//   dloss/dv = sum_k scale_bk m_k e_k,      scale_bk = w_bk 2 c_k / (B n)
#pragma once

#include <cstdint>

#include "noise.h"

namespace direct {

constexpr int TERMS = 4;  // fm, rand, hard, anc
constexpr int SUMS = 7;   // four distances, two alignments, the count of what is not finite
constexpr int NONFINITE = SUMS - 1;
constexpr int MAX_DIMS = 8;

enum Input { V, X, EPS, X_RAND, EPS_RAND, X_HARD, EPS_HARD, V_REF, INPUTS };
enum class Source : int32_t { ABSENT, GIVEN, DRAWN, MEAN };  // of a term's noise; ABSENT: of the term

// A tensor [B, n]. Where its n elements do not lie side by side, `dims` > 0 and the rest says how.
struct Stream {
  const void* data = nullptr;
  int64_t batch_stride = 0;  // elements
  int32_t dims = 0;
  int64_t size[MAX_DIMS], stride[MAX_DIMS];
};

struct Problem {
  Stream in[INPUTS];
  uint32_t present = 0;  // bit i: in[i] is there
  Source noise[TERMS];  // ANC: GIVEN or ABSENT
  const int64_t* key = nullptr;  // [B, 2]
  const float* weight = nullptr;  // [B, weight_terms]
  int32_t weight_terms = 0;       // 0 (ones), 1 or 4
  float coefficient[TERMS];       // c_k
  float per_element[TERMS];       // 2 c_k / (B n); 0 for an absent term
  float threshold, alpha_dot, sigma_dot;
  int64_t batch, elements;
  void* gradient = nullptr;  // [B, n] of the inputs' type, or none
};

struct Results {
  float *loss, *distances, *alignment;  // [], [B, 4], [B, 2]
  int64_t* nonfinite;  // [B]: nan and infinities in v
};

}  // namespace direct

namespace {

using direct::Problem;
using direct::Results;
using direct::Source;

HD float masked(float e, float threshold) { return __builtin_fabsf(e) <= threshold ? e : 0.0f; }

HD bool is_finite(float value) { return __builtin_fabsf(value) <= 0x1.fffffep127f; }

HD float from_bf16(uint16_t bits) { return as_float(uint32_t(bits) << 16); }

// Round to nearest even, as torch does; nan stays nan.
HD uint16_t to_bf16(float value) {
  const uint32_t bits = as_bits(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return uint16_t(value != value ? 0x7fc0u : rounded);
}

HD float widen(uint16_t value) { return from_bf16(value); }
HD float widen(float value) { return value; }
HD void narrow(float value, uint16_t* out) { *out = to_bf16(value); }
HD void narrow(float value, float* out) { *out = value; }

HD float term_weight(const Problem& p, int64_t b, int k) {
  if (p.weight_terms == 0) return 1.0f;
  return p.weight[p.weight_terms == 1 ? b : 4 * b + k];
}

// What a unit of m_k e_k adds to the gradient.
HD float gradient_scale(const Problem& p, int64_t b, int k) { return p.per_element[k] * term_weight(p, b, k); }

// Sample b's row of the results from its sums; returns its share of the loss.
HD double finish(const Problem& p, int64_t b, const double* sums, const Results& out) {
  float *distances = out.distances + 4 * b, *alignment = out.alignment + 2 * b;
  const double n = p.elements ? double(p.elements) : 1.0, variance = double(p.sigma_dot) * double(p.sigma_dot);
  double share = 0;
  for (int k = 0; k < direct::TERMS; ++k) {
    const bool absent = p.noise[k] == Source::ABSENT;
    const double d = sums[k] / n + (p.noise[k] == Source::MEAN ? variance : 0.0);
    distances[k] = absent ? as_float(0x7fc00000u) : float(d);
    if (!absent) share += double(term_weight(p, b, k)) * double(p.coefficient[k]) * d;
    if (k == RAND || k == HARD)
      alignment[k - RAND] = absent ? as_float(0x7fc00000u) : float(-sums[direct::TERMS + k - RAND] / n);
  }
  out.nonfinite[b] = int64_t(sums[direct::NONFINITE]);  // whole numbers: exact in double up to 2^53
  return share / double(p.batch);
}

HD Key key_of(const Problem& p, int64_t b) {
  if (!p.key) return Key{0, 0};
  return Key{uint64_t(p.key[2 * b]), uint64_t(p.key[2 * b + 1])};
}

}  // namespace
