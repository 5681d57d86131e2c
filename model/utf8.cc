#include "model/utf8.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace headlong {
namespace {

// Length of a character and the range of its second byte (Unicode standard, table 3-7).
struct LeadByte {
  int length = 0;  // 0: no character begins so
  uint8_t second_lo = 0x80;
  uint8_t second_hi = 0xBF;
};

LeadByte ReadLeadByte(uint8_t lead) {
  if (lead < 0x80) return {1};
  if (lead < 0xC2) return {0};
  if (lead < 0xE0) return {2};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};  // shorter forms exist
  if (lead == 0xED) return {3, 0x80, 0x9F};  // surrogates
  if (lead < 0xF0) return {3};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead < 0xF4) return {4};
  if (lead == 0xF4) return {4, 0x80, 0x8F};  // above U+10FFFF
  return {0};
}

size_t AsciiPrefix(std::string_view bytes) {
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + at, 8);
    if ((word & 0x8080808080808080u) != 0) break;
  }
  while (at < bytes.size() && static_cast<uint8_t>(bytes[at]) < 0x80) ++at;
  return at;
}

}  // namespace

Utf8Front ReadUtf8Front(std::string_view bytes) {
  const LeadByte lead = ReadLeadByte(static_cast<uint8_t>(bytes[0]));
  if (lead.length == 0) return {Utf8Front::Kind::kInvalid, 1};
  for (int i = 1; i < lead.length; ++i) {
    if (static_cast<size_t>(i) == bytes.size()) {
      return {Utf8Front::Kind::kIncomplete, bytes.size()};
    }
    const uint8_t byte = static_cast<uint8_t>(bytes[i]);
    const uint8_t lo = i == 1 ? lead.second_lo : 0x80;
    const uint8_t hi = i == 1 ? lead.second_hi : 0xBF;
    if (byte < lo || byte > hi) return {Utf8Front::Kind::kInvalid, static_cast<size_t>(i)};
  }
  return {Utf8Front::Kind::kCharacter, static_cast<size_t>(lead.length)};
}

size_t ValidUtf8Prefix(std::string_view bytes) {
  size_t at = 0;
  while (true) {
    at += AsciiPrefix(bytes.substr(at));
    if (at == bytes.size()) return at;
    const Utf8Front front = ReadUtf8Front(bytes.substr(at));
    if (front.kind != Utf8Front::Kind::kCharacter) return at;
    at += front.bytes;
  }
}

bool IsAscii(std::string_view bytes) { return AsciiPrefix(bytes) == bytes.size(); }

void DrainUtf8(std::string* pending, bool mark_each_byte, std::string* text) {
  std::string_view rest = *pending;
  while (!rest.empty()) {
    const size_t valid = ValidUtf8Prefix(rest);
    text->append(rest.substr(0, valid));
    rest.remove_prefix(valid);
    if (rest.empty()) break;
    const Utf8Front front = ReadUtf8Front(rest);
    if (front.kind == Utf8Front::Kind::kIncomplete) break;
    const size_t marks = mark_each_byte ? front.bytes : 1;
    for (size_t i = 0; i < marks; ++i) text->append(kReplacementCharacter);
    rest.remove_prefix(front.bytes);
  }
  pending->erase(0, pending->size() - rest.size());
}

std::string LossyUtf8(std::string bytes, bool mark_each_byte) {
  if (ValidUtf8Prefix(bytes) == bytes.size()) return bytes;
  std::string text;
  text.reserve(bytes.size());
  DrainUtf8(&bytes, mark_each_byte, &text);
  const size_t marks = mark_each_byte ? bytes.size() : std::min<size_t>(bytes.size(), 1);
  for (size_t i = 0; i < marks; ++i) text.append(kReplacementCharacter);
  return text;
}

void StripSpaces(std::string* text, int* left) {
  size_t spaces = 0;
  while (*left > 0 && spaces < text->size()) {
    if ((*text)[spaces] == ' ') {
      ++spaces;
      --*left;
    } else {
      *left = 0;
    }
  }
  text->erase(0, spaces);
}

}  // namespace headlong
