// The byte alphabet of GPT-2: every byte has a printable character, and a token's text in a
// tokenizer.json is written in these characters (a space is "Ġ"). Stateless.
// Source: bytes_to_unicode() in openai/gpt-2, src/encoder.py.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace headlong {

// The bytes that `characters` (UTF-8) stand for; nullopt when one of them is not in the alphabet.
std::optional<std::string> BytesFromByteLevel(std::string_view characters);

// The characters (UTF-8) that stand for `bytes`.
std::string ByteLevelFromBytes(std::string_view bytes);

}  // namespace headlong
