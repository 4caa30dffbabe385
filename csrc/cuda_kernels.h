// The CUDA kernels' interface: plain pointers and a stream, no torch. Launchers return nullptr, or what
// the runtime says went wrong. They leave `device` as the current one: the caller restores its own.
#pragma once

#include "velocity_loss.h"

namespace direct {

// Floats of scratch that launch_loss needs: under 0.1 % of the inputs.
int64_t workspace_floats(const Problem& problem);

// `tickets` [B + 1], zero before the first launch and not used after it.
const char* launch_loss(const Problem& problem, bool bf16, const Results& results, float* workspace,
                        unsigned* tickets, int device, void* stream);

const char* launch_normal(const int64_t* keys, int64_t batch, int64_t elements, uint32_t term, float* out,
                          int device, void* stream);

const char* launch_interpolate(const int64_t* keys, const float* t, bool bf16, int64_t batch, int64_t elements,
                               const void* x, void* out, int device, void* stream);

// gradient *= factor[0], where that is not 1.
const char* launch_scale(void* gradient, const float* factor, int64_t elements, bool bf16, int device,
                         void* stream);

}  // namespace direct
