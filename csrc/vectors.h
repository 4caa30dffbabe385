// Vectors of 16 bytes in the memory of a GPU: what the CUDA kernels share.
#pragma once

#include <cuda_runtime.h>

#include "velocity_loss.h"

namespace {

// 16 bytes of a row: 8 bfloat16 or 4 float32.
template <class T>
struct alignas(16) Vector {
  static constexpr int SIZE = 16 / sizeof(T);
  T value[SIZE];
};

// Inputs are read once and should not displace what is in the caches; what is written is read next, by the
// model or its backward pass, and may stay there. (A plain store of a uint4 becomes four; __stwb is no weak one.)
template <bool Aligned, class T>
__device__ __forceinline__ void load(const T* from, int count, Vector<T>& out) {
  if constexpr (Aligned) {
    reinterpret_cast<uint4&>(out) = __ldcs(reinterpret_cast<const uint4*>(from));
  } else {
#pragma unroll
    for (int i = 0; i < Vector<T>::SIZE; ++i)
      if (i < count) out.value[i] = from[i];
  }
}

template <bool Aligned, class T>
__device__ __forceinline__ void store(T* to, int count, const Vector<T>& value) {
  if constexpr (Aligned) {
    const uint4 words = reinterpret_cast<const uint4&>(value);
    asm("st.global.v4.b32 [%0], {%1, %2, %3, %4};"
        :
        : "l"(to), "r"(words.x), "r"(words.y), "r"(words.z), "r"(words.w)
        : "memory");
  } else {
#pragma unroll
    for (int i = 0; i < Vector<T>::SIZE; ++i)
      if (i < count) to[i] = value.value[i];
  }
}

// The value, as one that the compiler cannot work out anew. It would in every pass of a loop: of all that goes
// into an input's address, one or two instructions are left to a pass.
template <class Value>
__device__ __forceinline__ Value in_register(Value value) {
  if constexpr (sizeof(Value) == 8)
    asm volatile("" : "+l"(value));
  else
    asm volatile("" : "+r"(value));
  return value;
}

// Two floats to bfloat16, rounded to nearest even, in one instruction.
__device__ __forceinline__ void narrow_pair(float a, float b, uint16_t* out) {
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(*reinterpret_cast<uint32_t*>(out)) : "f"(b), "f"(a));
}

__device__ __forceinline__ void narrow_pair(float a, float b, float* out) { out[0] = a, out[1] = b; }

// Element i of a vector as a float: a shift or a mask of the 32-bit word it lies in.
__device__ __forceinline__ float element(const Vector<uint16_t>& vector, int i) {
  const uint32_t word = reinterpret_cast<const uint32_t*>(&vector)[i / 2];
  return as_float(i % 2 ? word & 0xffff0000u : word << 16);
}

__device__ __forceinline__ float element(const Vector<float>& vector, int i) { return vector.value[i]; }

bool on_16_bytes(const void* pointer, int64_t stride, int64_t size) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0 && stride * size % 16 == 0;
}

const char* outcome(cudaError_t error) { return error == cudaSuccess ? nullptr : cudaGetErrorString(error); }

}  // namespace
