// A SentencePiece .model as libsentencepiece reads it. Stands alone because that library's header
// declares an absl::string_view of its own, which no file may see beside Abseil's.
#pragma once

#include <string>
#include <vector>

namespace headlong {

struct SentencePiece {
  enum class Kind { kNormal, kUnknown, kControl, kUserDefined, kUnused, kByte };
  std::string text;
  float score = 0;
  Kind kind = Kind::kNormal;
};

struct SentencePieceFile {
  std::string error;                  // what libsentencepiece says; the rest is empty then
  std::vector<SentencePiece> pieces;  // by id
  int bos_id = -1;                    // -1: there is none
  int eos_id = -1;
};

// libsentencepiece does not tell user-defined pieces from normal ones: both are kNormal here.
SentencePieceFile ReadSentencePieceFile(const std::string& file_bytes);

}  // namespace headlong
