// How vectors of fp32 come out of a row of keys or values, for each type of storage
// (cache/row_format.h). For files built once per instruction set.
//
// A row type has kParts, how many vectors the numbers of one load make; Load, the vector of part
// `part` of the kParts * W numbers from number i on; kRowScale, whether all of a row has one scale,
// which Load then leaves out; kScaled, whether there are scales at all; and Size, how many bytes it
// takes for `dims` numbers.
#pragma once

#include <cstddef>

#include "cache/storage.h"
#include "worker/kernels/vector_bytes.h"
#include "worker/kernels/vector_float16.h"

namespace headlong::cpu::HEADLONG_ISA {

using Bytes = const std::byte*;

inline float WidenScale(uint16_t bits) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16);
}

struct PlainRow {
  static constexpr int kParts = 1;
  static constexpr bool kRowScale = false;
  static constexpr bool kScaled = false;
};

struct ByteRow {
  static constexpr int kParts = 1;
  static constexpr bool kRowScale = true;
  static constexpr bool kScaled = true;
  static int Size(int dims) { return dims; }
};

struct FloatRow : PlainRow {
  static int Size(int dims) { return dims * 4; }
  template <int W>
  static Float<W> Load(const std::byte* row, const uint16_t* /*scales*/, int i, int /*part*/) {
    return headlong::cpu::HEADLONG_ISA::Load<W>(reinterpret_cast<const float*>(row) + i);
  }
};

// In the order of LoadPart: queries and sums are kept in that order, too.
struct Bfloat16Pairs : PlainRow {
  static constexpr int kParts = 2;
  static int Size(int dims) { return dims * 2; }
  template <int W>
  static Float<W> Load(const std::byte* row, const uint16_t* /*scales*/, int i, int part) {
    return LoadPart<W>(reinterpret_cast<const uint16_t*>(row) + i, part);
  }
};

// In the order of memory, beside rows of other types.
struct Bfloat16Row : PlainRow {
  static int Size(int dims) { return dims * 2; }
  template <int W>
  static Float<W> Load(const std::byte* row, const uint16_t* /*scales*/, int i, int /*part*/) {
    return headlong::cpu::HEADLONG_ISA::Load<W>(reinterpret_cast<const uint16_t*>(row) + i);
  }
};

struct Float16Row : PlainRow {
  static int Size(int dims) { return dims * 2; }
  template <int W>
  static Float<W> Load(const std::byte* row, const uint16_t* /*scales*/, int i, int /*part*/) {
    return LoadFloat16<W>(reinterpret_cast<const uint16_t*>(row) + i);
  }
};

struct Int8Row : ByteRow {
  template <int W>
  static Float<W> Load(const std::byte* row, const uint16_t* /*scales*/, int i, int /*part*/) {
    return __builtin_convertvector(WidenBytes<W>(row + i), Float<W>);
  }
};

struct Float8Row : ByteRow {
  // The bits of the exponent and the mantissa, moved to where fp32 has them, are 2^-120 of the
  // number, as fp32's bias is 120 more: also where they are subnormal.
  template <int W>
  static Float<W> Load(const std::byte* row, const uint16_t* /*scales*/, int i, int /*part*/) {
    const Unsigned<W> bits = (Unsigned<W>)WidenBytes<W>(row + i) << 20 & 0x87f00000u;
    return (Float<W>)bits * 0x1p120f;
  }
};

struct Int4Row {
  static constexpr int kParts = 1;
  static constexpr bool kRowScale = false;
  static constexpr bool kScaled = true;
  static constexpr int kGroup = 32;
  static int Size(int dims) { return (dims + kGroup - 1) / kGroup * (kGroup / 2); }
  // REQUIRES: W <= 16, i a multiple of W: within one half of a group.
  template <int W>
  static Float<W> Load(const std::byte* row, const uint16_t* scales, int i, int /*part*/) {
    const int group = i / kGroup, at = i % kGroup;
    const bool high = at >= kGroup / 2;
    const Int<W> wide = WidenBytes<W>(row + group * (kGroup / 2) + at % (kGroup / 2));
    const Int<W> code = high ? wide << 24 & static_cast<int>(0xf0000000u) : wide << 28;
    return __builtin_convertvector(code, Float<W>) * (WidenScale(scales[group]) * 0x1p-28f);
  }
};

// Of one row of `dims` numbers: its bytes, and, of codes, its scales.
inline int64_t CodeBytes(Storage type, int dims) {
  if (type == Storage::kInt4) return Int4Row::Size(dims);
  if (type == Storage::kInt8 || type == Storage::kFloat8) return Int8Row::Size(dims);
  return type == Storage::kFloat32 ? FloatRow::Size(dims) : Float16Row::Size(dims);
}

inline int64_t ScalesOf(Storage type, int dims) {
  return type == Storage::kInt4 ? (dims + Int4Row::kGroup - 1) / Int4Row::kGroup : 1;
}

}  // namespace headlong::cpu::HEADLONG_ISA
