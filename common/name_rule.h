// The form of request and worker ids: [A-Za-z0-9._-]{1,64}.
#pragma once

#include <algorithm>
#include <string_view>

namespace headlong {

inline constexpr std::string_view kNameRule = "[A-Za-z0-9._-]{1,64}";

inline bool IsName(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

}  // namespace headlong
