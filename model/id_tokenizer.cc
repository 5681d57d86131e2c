// Token ids only: what a model is served with that has no tokenizer.
#include "common/status.h"
#include "model/tokenizer.h"

namespace headlong {
namespace {

class IdTokenizer final : public Tokenizer {
 public:
  explicit IdTokenizer(int vocab_size) : vocab_size_(vocab_size) {}

  absl::StatusOr<std::vector<TokenId>> Encode(std::string_view, bool) const override {
    return absl::FailedPreconditionError("the model has no tokenizer: give token ids");
  }
  absl::StatusOr<std::string> Decode(std::span<const TokenId> ids, bool) const override {
    for (const TokenId id : ids) {
      if (id < static_cast<TokenId>(vocab_size_)) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("token ", id, ": the vocabulary has ", vocab_size_));
    }
    return std::string();
  }
  std::string TokenBytes(TokenId) const override { return ""; }
  bool IsSpecial(TokenId) const override { return false; }
  int vocab_size() const override { return vocab_size_; }

 private:
  const int vocab_size_;
};

}  // namespace

bool HasTokenizer(const std::filesystem::path& model_dir) {
  std::error_code error;
  for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json"}) {
    if (std::filesystem::exists(model_dir / name, error)) return true;
  }
  return false;
}

std::unique_ptr<Tokenizer> MakeIdTokenizer(int vocab_size) {
  return std::make_unique<IdTokenizer>(vocab_size);
}

}  // namespace headlong
