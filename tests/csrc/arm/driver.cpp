// Runs the CPU kernels on inputs that it makes itself and prints a digest of every result's bits.
// Compiled for two processors its output must be the same text: the kernels promise the same bits.

#include <cstdio>
#include <cstring>
#include <vector>

#include "cpu_kernels.h"

namespace {

using direct::CpuKernels;
using direct::Problem;
using direct::Source;

uint32_t state = 1;

// A multiple of 2^-16 in [-4, 4): exact in every arithmetic.
float next() {
  state = state * 1664525u + 1013904223u;
  return float(int32_t(state) >> 13) / 65536.0f;
}

void fill(std::vector<float>& values) {
  for (float& value : values) value = next();
}

void fill(std::vector<uint16_t>& values) {
  for (uint16_t& value : values) value = to_bf16(next());
}

uint64_t digest(const void* data, size_t bytes) {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (size_t i = 0; i < bytes; ++i) hash = (hash ^ static_cast<const uint8_t*>(data)[i]) * 1099511628211u;
  return hash;
}

template <class Loss>
void print(const char* name, const char* type, int64_t elements, Loss digests) {
  std::printf("%s %s %lld %016llx\n", name, type, (long long)elements, (unsigned long long)digests);
}

// One evaluation with all four terms; `noise` is where the negatives' noise comes from.
template <class T, class Loss>
void evaluate(const char* type, Loss loss, int64_t elements, Source noise, float threshold) {
  const int64_t batch = 2, key[] = {1, 2, 3, 4};
  std::vector<std::vector<T>> inputs(direct::INPUTS, std::vector<T>(batch * elements));
  Problem p;
  for (int i = 0; i < direct::INPUTS; ++i) {
    fill(inputs[i]);
    p.in[i].data = inputs[i].data();
    p.in[i].batch_stride = elements;
    p.present |= 1u << i;
  }
  for (int k = 0; k < direct::TERMS; ++k) {
    p.noise[k] = k == RAND || k == HARD ? noise : Source::GIVEN;
    p.coefficient[k] = 0.25f * float(k + 1);
    p.per_element[k] = 2 * p.coefficient[k] / float(batch * elements);
  }
  std::vector<T> gradient(batch * elements);
  p.key = key;
  p.threshold = threshold;
  p.alpha_dot = -1;
  p.sigma_dot = 1;
  p.batch = batch;
  p.elements = elements;
  p.gradient = gradient.data();
  std::vector<double> sums;
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t chunk = 0; chunk * direct::CHUNK < elements; ++chunk) {
      double of_chunk[direct::SUMS];
      loss(p, b, chunk, false, of_chunk);
      sums.insert(sums.end(), of_chunk, of_chunk + direct::SUMS);
    }
  print("sums", type, elements, digest(sums.data(), sums.size() * sizeof(double)));
  print("gradient", type, elements, digest(gradient.data(), gradient.size() * sizeof(T)));
}

// Three targets, of weights for each sample and target.
template <class T, class Targets>
void targets(const char* type, Targets chunk_sums, int64_t elements, float threshold) {
  const int64_t batch = 2;
  std::vector<std::vector<T>> tensors(4, std::vector<T>(batch * elements));
  direct::Stream in[4];
  for (int i = 0; i < 4; ++i) {
    fill(tensors[i]);
    in[i].data = tensors[i].data(), in[i].batch_stride = elements;
  }
  const float weight[] = {1, 0.5f, 0, 2, 1, 0.25f};
  std::vector<T> gradient(batch * elements);
  direct::Targets p{};
  p.in = in, p.count = 3, p.weight = weight, p.weight_terms = 3, p.threshold = threshold;
  p.batch = batch, p.elements = elements, p.gradient = gradient.data();
  for (int k = 0; k < p.count; ++k) p.per_element[k] = (0.5f - 0.3f * float(k)) / float(batch * elements);
  std::vector<double> sums;
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t chunk = 0; chunk * direct::CHUNK < elements; ++chunk) {
      double of_chunk[3];
      chunk_sums(p, b, chunk, false, of_chunk);
      sums.insert(sums.end(), of_chunk, of_chunk + 3);
    }
  print("targets", type, elements, digest(sums.data(), sums.size() * sizeof(double)));
  print("targets' gradient", type, elements, digest(gradient.data(), gradient.size() * sizeof(T)));
}

template <class T, class Interpolate>
void path(const char* type, Interpolate interpolate, int64_t elements) {
  std::vector<T> x(elements), out(elements);
  fill(x);
  interpolate({5, 6}, 0.37f, 0, elements, x.data(), out.data());
  print("path", type, elements, digest(out.data(), out.size() * sizeof(T)));
}

}  // namespace

int main() {
  const CpuKernels& kernels = direct::kernels_portable;
  for (int64_t elements : {1, 127, 128, 4099, 20003}) {
    for (float threshold : {50.0f, 3.0f}) {
      targets<uint16_t>("bf16", kernels.targets->bf16, elements, threshold);
      targets<float>("float", kernels.targets->floats, elements, threshold);
      for (Source noise : {Source::GIVEN, Source::DRAWN, Source::MEAN}) {
        evaluate<uint16_t>("bf16", kernels.loss_bf16, elements, noise, threshold);
        evaluate<float>("float", kernels.loss_float, elements, noise, threshold);
      }
    }
    std::vector<float> normals(elements);
    kernels.normal({7, 8}, HARD, 0, elements, normals.data());
    print("normal", "float", elements, digest(normals.data(), normals.size() * sizeof(float)));
    path<uint16_t>("bf16", kernels.interpolate_bf16, elements);
    path<float>("float", kernels.interpolate_float, elements);
  }
}
