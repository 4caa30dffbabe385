// Blocks of 128 elements, taken from tensors wherever those lie: what the CPU kernels share beside lines.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "lines.h"

namespace {

using direct::Stream;

constexpr int BLOCK = 128;

// `count` elements of a tensor, wherever they lie, copied; zeros up to a whole block.
template <class T>
void gather(const Stream& stream, int64_t b, int64_t first, int count, T* out) {
  int64_t index[direct::MAX_DIMS], rest = first;
  const T* at = static_cast<const T*>(stream.data) + b * stream.batch_stride;
  for (int d = stream.dims - 1; d >= 0; --d) {
    index[d] = rest % stream.size[d];
    rest /= stream.size[d];
    at += index[d] * stream.stride[d];
  }
  if (stream.dims == 0) std::memcpy(out, at + first, size_t(count) * sizeof(T));
  for (int i = 0; stream.dims && i < count; ++i) {
    out[i] = *at;
    for (int d = stream.dims - 1; d >= 0; --d) {
      at += stream.stride[d];
      if (++index[d] < stream.size[d]) break;
      at -= stream.stride[d] * stream.size[d];
      index[d] = 0;
    }
  }
  std::fill(out + count, out + BLOCK, T(0));
}

// Loads, and asks for the line AHEAD elements further; past the end that asks for nothing that hurts.
template <int AHEAD, class T>
HD Pair fetch(const T* line, int lane) {
  for (size_t i = 0; i < LINE && lane == 0; i += 64 / sizeof(T)) __builtin_prefetch(line + AHEAD + i);
  return load(line, lane);
}

template <bool MASKED>
HD Floats kept(Floats e, float threshold) {
  const Floats magnitude = Floats(Words(e) & 0x7fffffffu);
  return !MASKED ? e : magnitude <= threshold ? e : Floats{};
}

// What the sum of a lane's squares stays below where no |e| is above the threshold and all are finite; it is
// rounded. A threshold whose square is no ordinary float has none: nothing is at most -1.
float bound(float threshold) {
  if (std::isinf(threshold)) return FLT_MAX;
  const double square = double(threshold) * double(threshold) * (1 - 1e-5);
  return square > 1e-30 && square < 1e38 ? float(square) : -1.0f;
}

}  // namespace
