#include "tests/fuzz/mutation.h"

#include <algorithm>
#include <cctype>
#include <string_view>

namespace headlong {
namespace {

constexpr size_t kMaxRange = 64;
constexpr std::string_view kWords[] = {
    "null",     "true",
    "-1",       "0",
    "1",        "1e308",
    "1e-9",     "2147483648",
    "\"\"",     "9223372036854775807",
    "[]",       "18446744073709551615",
    "{}",       "\"\\ud83d\"",
    "\"\xFF\"", "\"\\u0000\"",
    ",",        "\xE2\x96\x81",
    "[[[[",     "\"<s>\"",
};

// In [0, end); 0 where that is empty.
size_t Below(size_t end, std::mt19937_64& random) { return end == 0 ? 0 : random() % end; }

struct Range {
  size_t begin = 0;
  size_t size = 0;
};

Range DrawRange(const std::string& text, std::mt19937_64& random) {
  const size_t begin = Below(text.size(), random);
  return {begin, 1 + Below(std::min(kMaxRange, text.size() - begin), random)};
}

bool IsWord(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' || c == '_';
}

// The word or number at a drawn place.
Range DrawWord(const std::string& text, std::mt19937_64& random) {
  size_t begin = Below(text.size(), random);
  while (begin < text.size() && !IsWord(text[begin])) ++begin;
  size_t end = begin;
  while (begin > 0 && IsWord(text[begin - 1])) --begin;
  while (end < text.size() && IsWord(text[end])) ++end;
  return {begin, end - begin};
}

void Damage(std::string& text, const std::vector<std::string>& others, std::mt19937_64& random) {
  const Range range = DrawRange(text, random);
  const std::string_view word = kWords[Below(std::size(kWords), random)];
  const std::string& other = others[Below(others.size(), random)];
  switch (random() % 8) {
    case 0:
      if (!text.empty())
        text[range.begin] = static_cast<char>(text[range.begin] ^ 1 << random() % 8);
      break;
    case 1:
      if (!text.empty()) text[range.begin] = static_cast<char>(random());
      break;
    case 2:
      text.erase(range.begin, range.size);
      break;
    case 3:
      text.insert(Below(text.size() + 1, random), text.substr(range.begin, range.size));
      break;
    case 4:
      text.insert(range.begin, word);
      break;
    case 5: {
      const Range old = DrawWord(text, random);
      text.replace(old.begin, old.size, word);
      break;
    }
    case 6: {
      const Range taken = DrawRange(other, random);
      text.insert(range.begin, other.substr(taken.begin, taken.size));
      break;
    }
    default: {  // a word of the text itself in another's place
      const Range from = DrawWord(text, random);
      const std::string copy = text.substr(from.begin, from.size);
      const Range to = DrawWord(text, random);
      text.replace(to.begin, to.size, copy);
    }
  }
}

}  // namespace

std::string Mutate(std::string input, const std::vector<std::string>& others,
                   std::mt19937_64& random) {
  for (uint64_t left = 1 + random() % 4; left > 0; --left) Damage(input, others, random);
  return input;
}

}  // namespace headlong
