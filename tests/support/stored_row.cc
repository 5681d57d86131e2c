#include "tests/support/stored_row.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "tests/support/local_head_reference.h"

namespace headlong::reference {
namespace {

// The least number of 8 significant bits that is not below `x` >= 0.
float RoundedUp(float x) {
  const float nearest = RoundToBfloat16(x);
  if (nearest >= x) return nearest;
  int exponent;
  std::frexp(nearest, &exponent);
  return nearest + std::ldexp(1.0f, exponent - 8);
}

// Every fp8 number that is not negative, ascending: e4m3, bias 7, the last code is not a number.
std::vector<double> Float8Numbers() {
  std::vector<double> numbers;
  for (int code = 0; code < 0x7f; ++code) {
    const int exponent = code >> 3, mantissa = code & 7;
    numbers.push_back(exponent == 0 ? std::ldexp(mantissa, -9)
                                    : std::ldexp(8 + mantissa, exponent - 10));
  }
  return numbers;
}

// The nearest of them, of two as near the one with the even code.
float NearestFloat8(float x) {
  static const std::vector<double> numbers = Float8Numbers();
  size_t best = 0;
  for (size_t i = 1; i < numbers.size(); ++i) {
    const double is = std::abs(numbers[i] - std::abs(x)),
                 was = std::abs(numbers[best] - std::abs(x));
    if (is < was || (is == was && i % 2 == 0)) best = i;
  }
  return std::copysign(static_cast<float>(numbers[best]), x);
}

// The nearest number of 11 significant bits, in steps of 2^-24 below 2^-14, at most 65504. A double
// holds all of them and what lies half-way exactly; nearbyint takes the even one of two as near.
float NearestFloat16(float x) {
  int exponent;
  std::frexp(x, &exponent);  // |x| in [2^(exponent - 1), 2^exponent)
  const int step = std::max(exponent - 11, -24);
  const double nearest = std::ldexp(std::nearbyint(std::ldexp(double{x}, -step)), step);
  return static_cast<float>(std::clamp(nearest, -65504.0, 65504.0));
}

float Largest(std::span<const float> numbers) {
  float largest = 0;
  for (const float x : numbers) largest = std::max(largest, std::abs(x));
  return largest;
}

}  // namespace

std::vector<float> StoredRow(std::span<const float> numbers, std::string_view type) {
  std::vector<float> stored(numbers.begin(), numbers.end());
  if (type == "fp32") return stored;
  if (type == "bf16") {
    for (float& x : stored) x = RoundToBfloat16(x);
    return stored;
  }
  if (type == "fp16") {
    for (float& x : stored) x = NearestFloat16(x);
    return stored;
  }
  const float most = type == "int8" ? 127 : type == "int4" ? 7 : type == "fp8" ? 448 : 0;
  if (most == 0) std::abort();
  const size_t group = type == "int4" ? 32 : numbers.size();
  for (size_t begin = 0; begin < numbers.size(); begin += group) {
    const std::span<float> row(&stored[begin], std::min(group, numbers.size() - begin));
    const float scale = RoundedUp(Largest(row) / most);
    for (float& x : row) {
      if (scale == 0) {
        x = 0;
      } else {
        x = (type == "fp8" ? NearestFloat8(x / scale) : std::nearbyint(x / scale)) * scale;
      }
    }
  }
  return stored;
}

}  // namespace headlong::reference
