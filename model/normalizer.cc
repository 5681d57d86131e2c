#include "model/normalizer.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <cstdint>
#include <utility>

#include "common/status.h"
#include "model/utf8.h"

namespace headlong {
namespace {

using Kind = NormalizerStep::Kind;

const icu::Normalizer2* FormOf(Kind kind, UErrorCode* error) {
  switch (kind) {
    case Kind::kNfd:
      return icu::Normalizer2::getNFDInstance(*error);
    case Kind::kNfkc:
      return icu::Normalizer2::getNFKCInstance(*error);
    case Kind::kNfkd:
      return icu::Normalizer2::getNFKDInstance(*error);
    default:
      return icu::Normalizer2::getNFCInstance(*error);
  }
}

// Hugging Face's library normalises by Unicode 9: marks that came later are not put in order, and
// letters not put together. So they stand between pieces that are normalised.
constexpr uint8_t kUnicodeOfForms = 9;

bool IsLater(UChar32 c) {
  UVersionInfo age{};
  u_charAge(c, age);
  return age[0] > kUnicodeOfForms;
}

absl::Status ToForm(Kind kind, std::string* text) {
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* form = FormOf(kind, &error);
  std::string normalized;
  normalized.reserve(text->size());
  icu::StringByteSink<std::string> sink(&normalized);
  const auto append = [&](size_t begin, size_t end) {
    if (U_FAILURE(error) || begin == end) return;
    const icu::StringPiece piece(text->data() + begin, static_cast<int32_t>(end - begin));
    form->normalizeUTF8(0, piece, sink, nullptr, error);
  };
  size_t begin = 0;  // of the piece at hand
  for (size_t at = 0; at < text->size();) {
    const size_t before = at;
    UChar32 c = 0;
    U8_NEXT(text->data(), at, text->size(), c);
    if (c < 0x80 || !IsLater(c)) continue;
    append(begin, before);
    normalized.append(*text, before, at - before);
    begin = at;
  }
  append(begin, text->size());
  if (U_FAILURE(error)) {
    return absl::InternalError(absl::StrCat("Unicode normalisation: ", u_errorName(error)));
  }
  *text = std::move(normalized);
  return absl::OkStatus();
}

std::string CollapseSpaces(std::string_view text) {
  std::string collapsed;
  collapsed.reserve(text.size());
  for (const char c : text) {
    if (c == ' ' && (collapsed.empty() || collapsed.back() == ' ')) continue;
    collapsed.push_back(c);
  }
  return collapsed;
}

}  // namespace

std::string ReplaceAll(std::string_view text, std::string_view pattern, std::string_view by) {
  std::string replaced;
  replaced.reserve(text.size() + text.size() / 2);
  size_t at = 0;
  for (size_t found = text.find(pattern); found != std::string_view::npos;
       found = text.find(pattern, at)) {
    replaced.append(text.substr(at, found - at)).append(by);
    at = found + pattern.size();
  }
  replaced.append(text.substr(at));
  return replaced;
}

absl::StatusOr<std::string> Normalizer::Normalize(std::string_view text, bool at_start) const {
  std::string normalized(text);
  for (const NormalizerStep& step : steps_) {
    switch (step.kind) {
      case Kind::kNfc:
      case Kind::kNfd:
      case Kind::kNfkc:
      case Kind::kNfkd:
        if (!IsAscii(normalized)) RETURN_IF_ERROR(ToForm(step.kind, &normalized));
        break;
      case Kind::kPrepend:
        if (!normalized.empty() && (at_start || !step.at_start_only)) {
          normalized.insert(0, step.text);
        }
        break;
      case Kind::kReplace:
        normalized = ReplaceAll(normalized, step.pattern, step.text);
        break;
      case Kind::kCollapseSpaces:
        normalized = CollapseSpaces(normalized);
        break;
      case Kind::kStripEnd:
        while (normalized.ends_with(step.text)) {
          normalized.resize(normalized.size() - step.text.size());
        }
        break;
    }
  }
  return normalized;
}

}  // namespace headlong
