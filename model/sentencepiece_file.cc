#include "model/sentencepiece_file.h"

#include <sentencepiece_processor.h>

namespace headlong {
namespace {

using Processor = sentencepiece::SentencePieceProcessor;

SentencePiece::Kind KindOf(const Processor& processor, int id) {
  if (processor.IsUnknown(id)) return SentencePiece::Kind::kUnknown;
  if (processor.IsControl(id)) return SentencePiece::Kind::kControl;
  if (processor.IsUnused(id)) return SentencePiece::Kind::kUnused;
  if (processor.IsByte(id)) return SentencePiece::Kind::kByte;
  return SentencePiece::Kind::kNormal;
}

}  // namespace

SentencePieceFile ReadSentencePieceFile(const std::string& file_bytes) {
  SentencePieceFile file;
  Processor processor;
  if (const auto status = processor.LoadFromSerializedProto(file_bytes); !status.ok()) {
    file.error = status.ToString();
    return file;
  }
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    file.pieces.push_back({processor.IdToPiece(id), processor.GetScore(id), KindOf(processor, id)});
  }
  file.bos_id = processor.bos_id();
  file.eos_id = processor.eos_id();
  return file;
}

}  // namespace headlong
