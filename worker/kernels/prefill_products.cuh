// Products of a warpgroup on Hopper's matrix units (wgmma), asynchronous: 64 rows, 16 deep,
// operands of 16-bit floats in shared memory in rows of 128 bytes with the 128-byte swizzle.
#pragma once

#include <type_traits>

#include "worker/kernels/decode_element.cuh"
#include "worker/kernels/prefill_warpgroup.cuh"

// The sums c[i] and on as operands of an instruction that adds to them.
#define HEADLONG_SUMS_4(c, i) \
  "+f"((c)[i]), "+f"((c)[(i) + 1]), "+f"((c)[(i) + 2]), "+f"((c)[(i) + 3])
#define HEADLONG_SUMS_16(c, i)                                                     \
  HEADLONG_SUMS_4(c, i), HEADLONG_SUMS_4(c, (i) + 4), HEADLONG_SUMS_4(c, (i) + 8), \
      HEADLONG_SUMS_4(c, (i) + 12)
#define HEADLONG_SUMS_32(c, i) HEADLONG_SUMS_16(c, i), HEADLONG_SUMS_16(c, (i) + 16)
// What those operands are called in an instruction's text: 32 sums, and 32 more.
#define HEADLONG_NAMES_32                                                  \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define HEADLONG_NAMES_64                                                       \
  HEADLONG_NAMES_32                                                             \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, "                   \
  "%43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, " \
  "%58, %59, %60, %61, %62, %63"
// High half of an operand's description: eight rows of 128 bytes are 1024 bytes, 128-byte swizzle.
#define HEADLONG_EIGHT_ROWS "0x40000040"

// The instructions, by the type of both operands.
#define HEADLONG_PRODUCT_64(type)                                                        \
  asm volatile(                                                                          \
      "{.reg .pred p; setp.ne.b32 p, %34, 0; .reg .b64 a, b; "                           \
      "mov.b64 a, {%32, " HEADLONG_EIGHT_ROWS "}; mov.b64 b, {%33, " HEADLONG_EIGHT_ROWS \
      "}; "                                                                              \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " {" HEADLONG_NAMES_32 \
      "}, a, b, p, 1, 1, 0, 0;}"                                                         \
      : HEADLONG_SUMS_32(c, 0)                                                           \
      : "r"(a), "r"(b), "r"(int{add}))
#define HEADLONG_PRODUCT_128(type)                                                        \
  asm volatile(                                                                           \
      "{.reg .pred p; setp.ne.b32 p, %66, 0; .reg .b64 a, b; "                            \
      "mov.b64 a, {%64, " HEADLONG_EIGHT_ROWS "}; mov.b64 b, {%65, " HEADLONG_EIGHT_ROWS  \
      "}; "                                                                               \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" HEADLONG_NAMES_64 \
      "}, a, b, p, 1, 1, 0, 0;}"                                                          \
      : HEADLONG_SUMS_32(c, 0), HEADLONG_SUMS_32(c, 32)                                   \
      : "r"(a), "r"(b), "r"(int{add}))
#define HEADLONG_REGISTER_PRODUCT_64(type)                                                        \
  asm volatile("{.reg .b64 b; mov.b64 b, {%36, " HEADLONG_EIGHT_ROWS                              \
               "}; "                                                                              \
               "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " {" HEADLONG_NAMES_32 \
               "}, {%32, %33, %34, %35}, b, 1, 1, 1, 1;}"                                         \
               : HEADLONG_SUMS_32(c, 0)                                                           \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b))
#define HEADLONG_REGISTER_PRODUCT_128(type)                                                        \
  asm volatile("{.reg .b64 b; mov.b64 b, {%68, " HEADLONG_EIGHT_ROWS                               \
               "}; "                                                                               \
               "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" HEADLONG_NAMES_64 \
               "}, {%64, %65, %66, %67}, b, 1, 1, 1, 1;}"                                          \
               : HEADLONG_SUMS_32(c, 0), HEADLONG_SUMS_32(c, 32)                                   \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b))

namespace headlong::cuda {

// Operands in shared memory: see Operand.

// c (+)= a b', both operands with 16 columns of a depth of 64 in shared memory. c: as m16n8 tiles,
// one after the other.
template <typename Element, int kColumns>
__device__ void Product(float* c, uint32_t a, uint32_t b, bool add) {
  static_assert(kColumns == 64 || kColumns == 128);
  constexpr bool kFloat16 = std::is_same_v<Element, Float16Element>;
  if constexpr (kColumns == 64 && kFloat16) HEADLONG_PRODUCT_64("f16");
  if constexpr (kColumns == 64 && !kFloat16) HEADLONG_PRODUCT_64("bf16");
  if constexpr (kColumns == 128 && kFloat16) HEADLONG_PRODUCT_128("f16");
  if constexpr (kColumns == 128 && !kFloat16) HEADLONG_PRODUCT_128("bf16");
}

// c += a b, a in registers as of m16n8k16, b with its depth along rows.
template <typename Element, int kColumns>
__device__ void RegisterProduct(float* c, const uint32_t (&a)[4], uint32_t b) {
  static_assert(kColumns == 64 || kColumns == 128);
  constexpr bool kFloat16 = std::is_same_v<Element, Float16Element>;
  if constexpr (kColumns == 64 && kFloat16) HEADLONG_REGISTER_PRODUCT_64("f16");
  if constexpr (kColumns == 64 && !kFloat16) HEADLONG_REGISTER_PRODUCT_64("bf16");
  if constexpr (kColumns == 128 && kFloat16) HEADLONG_REGISTER_PRODUCT_128("f16");
  if constexpr (kColumns == 128 && !kFloat16) HEADLONG_REGISTER_PRODUCT_128("bf16");
}

}  // namespace headlong::cuda

#undef HEADLONG_PRODUCT_64
#undef HEADLONG_PRODUCT_128
#undef HEADLONG_REGISTER_PRODUCT_64
#undef HEADLONG_REGISTER_PRODUCT_128
#undef HEADLONG_SUMS_4
#undef HEADLONG_SUMS_16
#undef HEADLONG_SUMS_32
#undef HEADLONG_NAMES_32
#undef HEADLONG_NAMES_64
#undef HEADLONG_EIGHT_ROWS
