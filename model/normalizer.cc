#include "model/normalizer.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>

#include "common/status.h"
#include "model/utf8.h"

namespace headlong {
namespace {

absl::StatusOr<std::string> ToNfc(const std::string& text) {
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(error);
  std::string normalized;
  normalized.reserve(text.size());
  if (U_SUCCESS(error)) {
    icu::StringByteSink<std::string> sink(&normalized);
    const icu::StringPiece piece(text.data(), static_cast<int32_t>(text.size()));
    nfc->normalizeUTF8(0, piece, sink, nullptr, error);
  }
  if (U_FAILURE(error)) {
    return absl::InternalError(absl::StrCat("Unicode normalisation: ", u_errorName(error)));
  }
  return normalized;
}

}  // namespace

absl::StatusOr<std::string> Normalizer::Normalize(std::string_view text) const {
  std::string normalized(text);
  for (const NormalizerStep step : steps_) {
    switch (step) {
      case NormalizerStep::kNfc:
        if (IsAscii(normalized)) continue;
        ASSIGN_OR_RETURN(normalized, ToNfc(normalized));
    }
  }
  return normalized;
}

}  // namespace headlong
