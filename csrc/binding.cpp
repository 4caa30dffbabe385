// What the library says of itself, and the CPU's instruction set in use. binding_*.cpp bind the operators; their
// behaviour under autograd and torch.compile is registered in direct/loss/native.py.

#include <string>

#include "binding.h"
#include "binding_cpu.h"

// A hash of this folder's code, which results note: direct/common/fingerprint.py finds it in the file.
extern "C" __attribute__((used)) const char direct_sources[] = "direct-sources:" DIRECT_SOURCES;
// What setup.py noted about CUDA: its version and architectures, or why there is none (direct/extension.py).
extern "C" __attribute__((used)) const char direct_cuda[] = "direct-cuda:" DIRECT_CUDA;

namespace {

using direct::CpuKernels;

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

}  // namespace

const CpuKernels* direct::cpu = available("");

namespace {

// The instruction set in use; a name switches to it where this processor has it (for tests).
std::string instruction_set(std::string name) {
  if (const CpuKernels* found = name.empty() ? direct::cpu : available(name)) direct::cpu = found;
  return direct::cpu->name;
}

}  // namespace

STABLE_TORCH_LIBRARY(direct, m) { m.def("instruction_set(str name) -> str"); }

STABLE_TORCH_LIBRARY_IMPL(direct, CompositeExplicitAutograd, m) {
  m.impl("instruction_set", TORCH_BOX(&instruction_set));
}
