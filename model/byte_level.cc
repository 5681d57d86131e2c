#include "model/byte_level.h"

#include <array>
#include <cstdint>

namespace headlong {
namespace {

constexpr int kAlphabetEnd = 0x144;  // one past the largest code point of the alphabet

// Printable Latin-1 bytes stand for themselves; the other 68 take U+0100 onwards in byte order.
constexpr bool StandsForItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<uint16_t, 256> code_point_of{};
  std::array<int16_t, kAlphabetEnd> byte_of{};  // -1: not in the alphabet
};

constexpr Alphabet MakeAlphabet() {
  Alphabet alphabet;
  for (int16_t& byte : alphabet.byte_of) byte = -1;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const int code_point = StandsForItself(byte) ? byte : next++;
    alphabet.code_point_of[byte] = static_cast<uint16_t>(code_point);
    alphabet.byte_of[code_point] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = MakeAlphabet();

}  // namespace

std::optional<std::string> BytesFromByteLevel(std::string_view characters) {
  std::string bytes;
  bytes.reserve(characters.size());
  for (size_t i = 0; i < characters.size(); ++i) {
    int code_point = static_cast<uint8_t>(characters[i]);
    if (code_point >= 0x80) {
      // The alphabet ends below U+0800: longer sequences are never in it.
      if ((code_point & 0xE0) != 0xC0 || i + 1 == characters.size()) return std::nullopt;
      code_point = (code_point & 0x1F) << 6 | (static_cast<uint8_t>(characters[++i]) & 0x3F);
    }
    if (code_point >= kAlphabetEnd || kAlphabet.byte_of[code_point] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kAlphabet.byte_of[code_point]));
  }
  return bytes;
}

std::string ByteLevelFromBytes(std::string_view bytes) {
  std::string characters;
  characters.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const int code_point = kAlphabet.code_point_of[static_cast<uint8_t>(c)];
    if (code_point < 0x80) {
      characters.push_back(static_cast<char>(code_point));
    } else {
      characters.push_back(static_cast<char>(0xC0 | code_point >> 6));
      characters.push_back(static_cast<char>(0x80 | (code_point & 0x3F)));
    }
  }
  return characters;
}

}  // namespace headlong
