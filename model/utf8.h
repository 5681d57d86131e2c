// UTF-8: where a text stops being valid, and how bytes that are not UTF-8 become U+FFFD. Stateless.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace headlong {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

// What stands at the front of some bytes.
struct Utf8Front {
  enum class Kind { kCharacter, kIncomplete, kInvalid };
  Kind kind = Kind::kInvalid;
  size_t bytes = 0;  // of the character; else of the "maximal subpart" (Unicode standard, 3.9)
};

// REQUIRES: bytes is not empty. kIncomplete: all of `bytes` is the beginning of a character.
Utf8Front ReadUtf8Front(std::string_view bytes);

// Offset of the first byte that belongs to no character; bytes.size() when all is valid.
size_t ValidUtf8Prefix(std::string_view bytes);

bool IsAscii(std::string_view bytes);

// Moves whole characters from the front of `pending` to `text`; each maximal subpart that can
// never become a character gives one U+FFFD, as String::from_utf8_lossy of Rust does, or with
// `mark_each_byte` one for each of its bytes. What stays in `pending` is the incomplete beginning
// of one character, or nothing.
void DrainUtf8(std::string* pending, bool mark_each_byte, std::string* text);

// All of `bytes` with that replacement, an incomplete end included.
std::string LossyUtf8(std::string bytes, bool mark_each_byte);

// Takes spaces off the front of `text` while `*left` are to go; once something else stands there
// `*left` is 0.
void StripSpaces(std::string* text, int* left);

}  // namespace headlong
