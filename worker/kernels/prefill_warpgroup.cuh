// Asynchronous products of a warpgroup on Hopper's matrix units (wgmma): where operands in shared
// memory are, and the order of products and of what touches their registers.
#pragma once

#include <cstdint>

namespace headlong::cuda {

// What is the same in all threads of a warp, and known to be: it is kept in one register for all.
__device__ inline uint32_t Uniform(uint32_t x) { return __shfl_sync(~0u, x, 0); }

// Low half of the description of an operand that begins at `address` (a multiple of 1024 but for
// steps along its depth). next_columns: bytes to its next 64 columns, where its rows are what is
// summed over. Kept as it is, whatever it was computed from.
__device__ inline uint32_t Operand(uint32_t address, uint32_t next_columns) {
  return Uniform((address & 0x3ffff) >> 4 | next_columns >> 4 << 16);
}

__device__ inline void BeginProducts() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void CommitProducts() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending>
__device__ void WaitForProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Keeps the compiler from moving uses of what a product reads or writes over a wait.
template <int kCount>
__device__ void Pin(float (&c)[kCount][4]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    for (int j = 0; j < 4; ++j) asm volatile("" : "+f"(c[i][j])::"memory");
  }
}
template <int kCount>
__device__ void Pin(uint32_t (&a)[kCount][4]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    for (int j = 0; j < 4; ++j) asm volatile("" : "+r"(a[i][j])::"memory");
  }
}

// A store that is never to happen: what it depends on is computed before what follows it.
__device__ inline void KeepBefore(float value) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(0), "f"(value) : "memory");
}

// ---- what warpgroups tell each other ----

// Barriers in shared memory, 8 bytes each: a phase ends with its last arrival.
__device__ inline void InitBarrier(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
__device__ inline void ArriveAt(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// Arrives once all copies that this thread has started are done.
__device__ inline void ArriveAfterCopies(uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}
__device__ inline void WaitAt(uint32_t barrier, int parity) {
  uint32_t done;
  do {
    asm volatile(
        "{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; "
        "selp.u32 %0, 1, 0, p;}"
        : "=r"(done)
        : "r"(barrier), "r"(parity)
        : "memory");
  } while (done == 0);
}

// Named barriers of a CTA; 0 is __syncthreads'.
__device__ inline void SyncNamed(int name, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(name), "r"(threads) : "memory");
}
__device__ inline void ArriveNamed(int name, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(name), "r"(threads) : "memory");
}

// Orders what was written to shared memory, here or before a barrier, before products read it.
__device__ inline void FenceForProducts() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Registers of each thread of the warpgroup from here on.
template <int kRegisters>
__device__ void GiveRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ void TakeRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace headlong::cuda
