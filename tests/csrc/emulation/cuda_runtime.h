// What csrc/*.cu need of CUDA, on the CPU: every CUDA thread is a fiber.
//
// One OS thread runs one fiber at a time. Which one is drawn at random whenever a fiber waits (barrier,
// shuffle) or touches what other blocks see (atomics, fences, L2 loads and stores). One to four blocks are
// resident at once, started in random order. A fault ends the launch and cudaGetLastError tells it: a
// barrier or a shuffle that not all threads reach, a vector access off its boundary, memory that may not
// be touched.
//
// Shared memory begins as nan. A store by __stcg stays with its thread until that thread's next fence, as
// late as CUDA allows: who forgets the fence reads old values. An asynchronous copy happens at once or when
// its thread waits for it, by chance: who does not wait, or still reads what it overwrites, is found out.
// What is not modelled: loads that move up past an atomic, reads of plain stores by other blocks, and the
// bits of rsqrt.approx (here: exact).
#pragma once

#include <algorithm>
#include <csetjmp>
#include <csignal>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

#define __CUDA_ARCH__ 900  // noise.h then computes as a GPU does
#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

extern "C" {
inline int emulated_mutant = 0;  // which of the faults that a test wrote into the source is active
}

namespace emulated {

constexpr size_t STACK = 1 << 16, RESIDENT = 4, MOST_THREADS = 1024;

struct Block;

struct Copy {
  void* to;
  const void* from;
  size_t size;
};

struct Thread {
  Block* block;
  dim3 index;
  jmp_buf at;
  bool fresh = true, ended = false;
  unsigned shuffles = 0;
  std::vector<std::vector<Copy>> copies{1};  // under way, in groups; the last group is not yet committed
};

struct Warp {
  uint64_t values[2][32];  // of this shuffle and of the one before, which others may still read
  unsigned arrived = 0;
  int line = 0;
};

struct Store {
  char* to;
  std::vector<char> bytes;
  const Thread* by;
  unsigned phase;  // of the block: how many barriers it has passed
};

struct Block {
  dim3 index;
  char* stacks;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<Store> stores;  // not yet seen by other blocks
  std::map<std::pair<int, size_t>, std::unique_ptr<char[]>> shared;
  unsigned waiting = 0, ended = 0, phase = 0;
  int line = 0;
};

inline Thread* current;
inline std::vector<Thread*> ready, stalled;
inline std::function<void()> body;
inline std::mt19937_64 chance;
inline jmp_buf scheduler;
inline std::string fault;

// What every launcher of a test calls first: the seed of the schedule.
inline void begin(uint64_t seed) {
  chance.seed(seed);
  fault.clear();
}

[[noreturn]] inline void fail(const std::string& what) {
  const dim3 thread = current->index, block = current->block->index;
  fault = what + " (block " + std::to_string(block.x) + ", thread " + std::to_string(thread.x) + ")";
  _longjmp(scheduler, 1);
}

inline void on_bad_access(int, siginfo_t*, void*) { fail("memory outside of every tensor is touched"); }

__attribute__((noinline)) inline void pause() {
  if (!_setjmp(current->at)) _longjmp(scheduler, 1);
}

// Others may go first: now and then many of them.
inline void yield() {
  (chance() % 4 ? ready : stalled).push_back(current);
  pause();
}

inline void enter() {
  body();
  current->ended = true;
  _longjmp(scheduler, 1);
}

__attribute__((noinline)) inline void resume() {
  static ucontext_t context;
  if (_setjmp(scheduler)) return;
  if (!current->fresh) _longjmp(current->at, 1);
  current->fresh = false;
  getcontext(&context);
  context.uc_stack.ss_sp = current->block->stacks + current->index.x * STACK;
  context.uc_stack.ss_size = STACK;
  makecontext(&context, enter, 0);
  setcontext(&context);
}

inline void barrier(int line) {
  Block& block = *current->block;
  if (block.waiting && block.line != line)
    fail("the barriers of lines " + std::to_string(block.line) + " and " + std::to_string(line) + " meet");
  block.line = line;
  if (++block.waiting < block.threads.size()) return pause();
  block.waiting = 0, ++block.phase;
  for (Thread& thread : block.threads)
    if (&thread != current) ready.push_back(&thread);
  yield();
}

template <class T>
T shuffle_down(unsigned mask, T value, unsigned offset, int line) {
  const unsigned lane = current->index.x % 32, here = current->shuffles++ % 2;
  const unsigned first = current->index.x - lane;
  Block& block = *current->block;
  Warp& warp = block.warps[first / 32];
  if (!(mask >> lane & 1)) fail("a lane outside of its own mask shuffles");
  if (warp.arrived && warp.line != line) fail("lanes of a warp meet at different shuffles");
  memcpy(&warp.values[here][lane], &value, sizeof(T));
  warp.line = line, warp.arrived |= 1u << lane;
  if (warp.arrived == mask) {
    warp.arrived = 0;
    for (unsigned other = 0; other < 32; ++other)
      if (other != lane && mask >> other & 1) ready.push_back(&block.threads[first + other]);
  } else {
    pause();
  }
  memcpy(&value, &warp.values[here][lane + offset < 32 ? lane + offset : lane], sizeof(T));
  return value;
}

// One for each variable: its line and its size tell them apart.
template <class T>
T& shared(int line) {
  auto& memory = current->block->shared[{line, sizeof(T)}];
  if (!memory) memory.reset(static_cast<char*>(memset(new char[sizeof(T)], 0xff, sizeof(T))));
  return reinterpret_cast<T&>(*memory.get());
}

template <class T>
T* on_boundary(T* pointer) {
  if (reinterpret_cast<uintptr_t>(pointer) % alignof(T))
    fail("an access of " + std::to_string(sizeof(T)) + " bytes is not on their boundary");
  return pointer;
}

inline bool is_seen(const Store& store) { return store.by == current || store.phase < current->block->phase; }

inline void write(const Store& store) { memcpy(store.to, store.bytes.data(), store.bytes.size()); }

inline void fence() {
  yield();
  std::vector<Store> rest;
  for (Store& store : current->block->stores) is_seen(store) ? write(store) : rest.push_back(std::move(store));
  current->block->stores.swap(rest);
}

template <class T>
void store(T* to, T value) {
  const char* bytes = reinterpret_cast<const char*>(&value);
  char* at = reinterpret_cast<char*>(on_boundary(to));
  current->block->stores.push_back({at, {bytes, bytes + sizeof(T)}, current, current->block->phase});
  yield();
}

template <class T>
T load(const T* from) {
  yield();
  T value = *on_boundary(from);
  char* bytes = reinterpret_cast<char*>(&value);
  for (const Store& store : current->block->stores)
    for (size_t i = 0; is_seen(store) && i < store.bytes.size(); ++i) {
      const size_t at = size_t(store.to + i - reinterpret_cast<const char*>(from));
      if (at < sizeof(T)) bytes[at] = store.bytes[i];
    }
  return value;
}

inline void copy_async(void* to, const void* from, size_t size) {
  for (const void* end : {const_cast<const void*>(to), from})
    if (reinterpret_cast<uintptr_t>(end) % size)
      fail("an access of " + std::to_string(size) + " bytes is not on their boundary");
  if (chance() % 2)
    memcpy(to, from, size);
  else
    current->copies.back().push_back({to, from, size});
}

inline void commit() { current->copies.emplace_back(); }

// All committed groups but the last `count` are there afterwards.
inline void wait_prior(size_t count) {
  auto& groups = current->copies;
  for (; groups.size() > count + 1; groups.erase(groups.begin()))
    for (const Copy& copy : groups.front()) memcpy(copy.to, copy.from, copy.size);
}

inline unsigned add(unsigned* to, unsigned value) {
  yield();
  const unsigned before = *to;
  *to += value;
  return before;
}

inline std::unique_ptr<Block> start(unsigned block, dim3 grid, dim3 size, char* stacks) {
  auto made = std::make_unique<Block>();
  made->index = dim3(block % grid.x, block / grid.x);
  made->stacks = stacks;
  made->threads.resize(size.x);
  made->warps.resize((size.x + 31) / 32);
  for (unsigned i = 0; i < size.x; ++i) {
    made->threads[i].block = made.get(), made->threads[i].index = dim3(i, 0, 0);
    ready.push_back(&made->threads[i]);
  }
  return made;
}

inline void run(dim3 grid, dim3 size) {
  static char* stacks = static_cast<char*>(mmap(nullptr, RESIDENT * MOST_THREADS * STACK, PROT_READ | PROT_WRITE,
                                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  std::vector<unsigned> order(grid.x * grid.y);
  for (unsigned i = 0; i < order.size(); ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), chance);
  std::vector<std::unique_ptr<Block>> slots(1 + chance() % RESIDENT), done;
  const uint64_t patience = 16 << chance() % 12;  // how long who lets others go first waits
  ready.clear(), stalled.clear();
  while (fault.empty()) {
    for (size_t slot = 0; slot < slots.size(); ++slot)
      if (!slots[slot] && !order.empty()) {
        slots[slot] = start(order.back(), grid, size, stacks + slot * MOST_THREADS * STACK);
        order.pop_back();
      }
    if (ready.empty() || chance() % patience == 0) {
      ready.insert(ready.end(), stalled.begin(), stalled.end());
      stalled.clear();
    }
    if (ready.empty()) break;
    std::swap(ready[chance() % ready.size()], ready.back());
    current = ready.back(), ready.pop_back();
    resume();
    if (!current->ended || ++current->block->ended < size.x) continue;
    for (auto& slot : slots)
      if (slot.get() == current->block) done.push_back(std::move(slot));
  }
  for (auto& slot : slots)
    if (slot && fault.empty())
      fault = "threads wait for others that have ended: the last barrier is line " + std::to_string(slot->line) +
              " (block " + std::to_string(slot->index.x) + ")";
  for (auto& block : done)
    for (const Store& store : block->stores) write(store);
}

// kernel<<<grid, size, 0, stream>>>(arguments...), written launch(kernel, grid, size, 0, stream)(arguments...)
template <class... P>
auto launch(void (*kernel)(P...), dim3 grid, dim3 size, size_t, void*) {
  return [=](std::common_type_t<P>... arguments) {
    static char stack[1 << 16];
    struct sigaction bad = {}, before;
    stack_t here = {stack, 0, sizeof(stack)}, there;
    bad.sa_sigaction = on_bad_access;
    bad.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaltstack(&here, &there), sigaction(SIGSEGV, &bad, &before);
    body = [&] { kernel(arguments...); };
    run(grid, size);
    sigaction(SIGSEGV, &before, nullptr), sigaltstack(&there, nullptr);
  };
}

inline float rsqrt(float a) { return float(1 / std::sqrt(double(a))); }

// Two floats to bfloat16 in one word, `low` in its lower half.
inline uint32_t narrow_pair(float high, float low) {
  auto one = [](float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return value != value ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
  };
  return one(high) << 16 | one(low);
}

}  // namespace emulated

#define threadIdx (emulated::current->index)
#define blockIdx (emulated::current->block->index)
#define __syncthreads() emulated::barrier(__LINE__)
#define __shfl_down_sync(mask, value, offset) emulated::shuffle_down(mask, value, offset, __LINE__)
#define __threadfence() emulated::fence()

template <class T>
T __ldcs(const T* from) { return *emulated::on_boundary(from); }
template <class T>
T __ldcg(const T* from) { return emulated::load(from); }
template <class T>
void __stcg(T* to, T value) { emulated::store(to, value); }
inline unsigned atomicAdd(unsigned* to, unsigned value) { return emulated::add(to, value); }

inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __uint2float_rn(unsigned word) { return float(word); }
inline float __uint_as_float(unsigned bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  memcpy(&bits, &value, 4);
  return bits;
}

enum cudaError_t { cudaSuccess, cudaErrorLaunchFailure };
using cudaStream_t = void*;
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaGetLastError() { return emulated::fault.empty() ? cudaSuccess : cudaErrorLaunchFailure; }
inline const char* cudaGetErrorString(cudaError_t) { return emulated::fault.c_str(); }
