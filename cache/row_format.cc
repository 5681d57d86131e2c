#include "cache/row_format.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace headlong {
namespace {

// The least bf16 number that is not below `scale` >= 0.
uint16_t RoundedUp(float scale) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, scale);
  return static_cast<uint16_t>((bits + 0xffffu) >> 16);
}

float LargestMagnitude(const float* numbers, int count) {
  float largest = 0;
  for (int i = 0; i < count; ++i) largest = std::max(largest, std::abs(numbers[i]));
  return largest;
}

// number / scale in whole steps, at most `most` of them either way.
int Steps(float number, float scale, float most) {
  if (scale == 0) return 0;
  return static_cast<int>(std::rint(std::clamp(number / scale, -most, most)));
}

// Writes the one scale of a row, for codes of at most `most` either way; returns it.
float RowScale(const float* numbers, int count, float most, const Row& out) {
  out.scales[0] = RoundedUp(LargestMagnitude(numbers, count) / most);
  return ToFloat(Bfloat16{out.scales[0]});
}

void EncodeInt4(const float* numbers, const RowFormat& format, const Row& out) {
  constexpr float kMost = 7;
  constexpr int kHalf = kCodeGroup / 2;
  for (int group = 0; group < format.scales(); ++group) {
    const int first = group * kCodeGroup;
    const int count = std::min(kCodeGroup, format.dims - first);
    out.scales[group] = RoundedUp(LargestMagnitude(numbers + first, count) / kMost);
    const float scale = ToFloat(Bfloat16{out.scales[group]});
    const auto code = [&](int i) {
      return i < count ? static_cast<unsigned>(Steps(numbers[first + i], scale, kMost)) & 15u : 0u;
    };
    for (int i = 0; i < kHalf; ++i) {
      out.codes[group * kHalf + i] = static_cast<std::byte>(code(i) | code(i + kHalf) << 4);
    }
  }
}

void DecodeInt4(const std::byte* codes, const uint16_t* scales, const RowFormat& format,
                float* out) {
  constexpr int kHalf = kCodeGroup / 2;
  for (int i = 0; i < format.dims; ++i) {
    const int group = i / kCodeGroup, at = i % kCodeGroup;
    const auto byte = static_cast<unsigned>(codes[group * kHalf + at % kHalf]);
    const auto code = static_cast<int8_t>((at < kHalf ? byte << 4 : byte) & 0xf0u);
    out[i] = static_cast<float>(code >> 4) * ToFloat(Bfloat16{scales[group]});
  }
}

}  // namespace

Row RowsIn(std::byte* memory, const RowFormat& format, int64_t count) {
  if (format.scales() == 0) return {memory, nullptr};
  return {memory, reinterpret_cast<uint16_t*>(memory + count * format.code_bytes())};
}

void CopyRows(const RowFormat& format, Row from, int64_t count, Row to) {
  std::memcpy(to.codes, from.codes, count * format.code_bytes());
  if (format.scales() == 0) return;
  std::memcpy(to.scales, from.scales, count * format.scales() * sizeof(uint16_t));
}

void EncodeRow(const float* numbers, const RowFormat& format, Row out) {
  switch (format.type) {
    case Storage::kFloat32:
      std::memcpy(out.codes, numbers, format.dims * sizeof(float));
      return;
    case Storage::kBfloat16: {
      auto* rounded = reinterpret_cast<Bfloat16*>(out.codes);
      for (int i = 0; i < format.dims; ++i) rounded[i] = ToBfloat16(numbers[i]);
      return;
    }
    case Storage::kFloat16: {
      auto* rounded = reinterpret_cast<Float16*>(out.codes);
      for (int i = 0; i < format.dims; ++i) rounded[i] = ToFloat16(numbers[i]);
      return;
    }
    case Storage::kInt8: {
      constexpr float kMost = 127;
      const float scale = RowScale(numbers, format.dims, kMost, out);
      auto* codes = reinterpret_cast<int8_t*>(out.codes);
      for (int i = 0; i < format.dims; ++i) {
        codes[i] = static_cast<int8_t>(Steps(numbers[i], scale, kMost));
      }
      return;
    }
    case Storage::kFloat8: {
      const float scale = RowScale(numbers, format.dims, 448, out);
      auto* codes = reinterpret_cast<uint8_t*>(out.codes);
      for (int i = 0; i < format.dims; ++i) {
        codes[i] = scale == 0 ? uint8_t{0} : ToFloat8(numbers[i] / scale);
      }
      return;
    }
    case Storage::kInt4:
      return EncodeInt4(numbers, format, out);
  }
}

void DecodeRow(const std::byte* codes, const uint16_t* scales, const RowFormat& format,
               float* out) {
  switch (format.type) {
    case Storage::kFloat32:
      std::memcpy(out, codes, format.dims * sizeof(float));
      return;
    case Storage::kBfloat16: {
      const auto* numbers = reinterpret_cast<const Bfloat16*>(codes);
      for (int i = 0; i < format.dims; ++i) out[i] = ToFloat(numbers[i]);
      return;
    }
    case Storage::kFloat16: {
      const auto* numbers = reinterpret_cast<const Float16*>(codes);
      for (int i = 0; i < format.dims; ++i) out[i] = ToFloat(numbers[i]);
      return;
    }
    case Storage::kInt8: {
      const float scale = ToFloat(Bfloat16{scales[0]});
      const auto* steps = reinterpret_cast<const int8_t*>(codes);
      for (int i = 0; i < format.dims; ++i) out[i] = static_cast<float>(steps[i]) * scale;
      return;
    }
    case Storage::kFloat8: {
      const float scale = ToFloat(Bfloat16{scales[0]});
      const auto* numbers = reinterpret_cast<const uint8_t*>(codes);
      for (int i = 0; i < format.dims; ++i) out[i] = FromFloat8(numbers[i]) * scale;
      return;
    }
    case Storage::kInt4:
      return DecodeInt4(codes, scales, format, out);
  }
}

}  // namespace headlong
