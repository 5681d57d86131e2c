// Inputs of several texts: NULs stand between them. Stateless.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace headlong {

// The first N - 1 texts and what follows them; empty where there are fewer.
template <size_t N>
std::array<std::string, N> SplitTexts(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::array<std::string, N> texts;
  for (size_t i = 0; i < N; ++i) {
    const size_t end = i + 1 == N ? rest.size() : std::min(rest.find('\0'), rest.size());
    texts[i] = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return texts;
}

}  // namespace headlong
