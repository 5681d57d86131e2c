// The fields that libsentencepiece does not show are read from the message itself: field numbers
// are those of google/sentencepiece, src/sentencepiece_model.proto.
#include "model/sentencepiece_model.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "common/status.h"
#include "model/added_tokens.h"
#include "model/normalizer.h"
#include "model/sentencepiece_file.h"
#include "model/tokenizer_files.h"
#include "model/tokenizer_json.h"
#include "model/utf8.h"

namespace headlong {
namespace {

constexpr char kSpace[] = "\xE2\x96\x81";  // U+2581 stands for a space

// One level of a protobuf message: of every field the last integer or string, and all strings of
// field 1 (of a model: its pieces).
class Message {
 public:
  // nullopt when `bytes` is no message.
  static std::optional<Message> Read(std::string_view bytes) {
    Message message;
    while (!bytes.empty()) {
      const std::optional<uint64_t> tag = Varint(&bytes);
      if (!tag.has_value()) return std::nullopt;
      const int field = static_cast<int>(*tag >> 3);
      const int wire_type = static_cast<int>(*tag & 7);
      size_t skip = wire_type == 1 ? 8 : 4;
      if (wire_type == 0 || wire_type == 2) {
        const std::optional<uint64_t> value = Varint(&bytes);
        if (!value.has_value()) return std::nullopt;
        if (wire_type == 0) message.numbers_[field] = *value;
        skip = wire_type == 0 ? 0 : *value;
      } else if (wire_type != 1 && wire_type != 5) {
        return std::nullopt;
      }
      if (skip > bytes.size()) return std::nullopt;
      if (wire_type == 2) message.strings_[field] = bytes.substr(0, skip);
      if (wire_type == 2 && field == 1) message.firsts_.push_back(bytes.substr(0, skip));
      bytes.remove_prefix(skip);
    }
    return message;
  }

  uint64_t Number(int field, uint64_t otherwise) const {
    const auto it = numbers_.find(field);
    return it == numbers_.end() ? otherwise : it->second;
  }
  const std::vector<std::string_view>& firsts() const { return firsts_; }
  std::string_view String(int field) const {
    const auto it = strings_.find(field);
    return it == strings_.end() ? std::string_view() : it->second;
  }

 private:
  static std::optional<uint64_t> Varint(std::string_view* bytes) {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && !bytes->empty(); shift += 7) {
      const uint8_t byte = static_cast<uint8_t>(bytes->front());
      bytes->remove_prefix(1);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }

  std::map<int, uint64_t> numbers_;
  std::map<int, std::string_view> strings_;
  std::vector<std::string_view> firsts_;
};

struct SpaceRules {
  bool dummy_prefix = true;  // a space in front of a text
  bool remove_extra = true;  // of several spaces one, none at the ends
};

// Whatever else a model may ask for is refused.
absl::StatusOr<SpaceRules> ReadRules(const Message& model) {
  const std::optional<Message> trainer = Message::Read(model.String(2));
  const std::optional<Message> normalizer = Message::Read(model.String(3));
  if (!trainer || !normalizer) {
    return absl::InvalidArgumentError("trainer_spec or normalizer_spec: is no protobuf message");
  }
  if (const uint64_t type = trainer->Number(3, 1); type != 2) {
    return Unsupported("trainer_spec.model_type", type);
  }
  if (trainer->Number(24, 0) != 0) {
    return Unsupported("trainer_spec.treat_whitespace_as_suffix", true);
  }
  if (trainer->Number(35, 0) == 0) return Unsupported("trainer_spec.byte_fallback", false);
  if (!normalizer->String(2).empty()) {
    return Unsupported("normalizer_spec.precompiled_charsmap", std::string(normalizer->String(1)));
  }
  if (normalizer->Number(5, 1) == 0) {
    return Unsupported("normalizer_spec.escape_whitespaces", false);
  }
  return SpaceRules{normalizer->Number(3, 1) != 0, normalizer->Number(4, 1) != 0};
}

// The kinds of pieces that a tokenizer needs, each checked.
absl::Status FinishPieces(const Message& model, std::vector<SentencePiece>* pieces) {
  constexpr uint64_t kUserDefined = 4;  // SentencePiece.Type
  for (size_t i = 0; i < pieces->size(); ++i) {
    SentencePiece& piece = (*pieces)[i];
    const std::string field = absl::StrCat("pieces[", i, "]");
    if (piece.kind == SentencePiece::Kind::kUnused) {
      return Unsupported(absl::StrCat(field, ".type"), "UNUSED");
    }
    const std::optional<Message> message = Message::Read(model.firsts()[i]);
    if (message && message->Number(3, 1) == kUserDefined) {
      piece.kind = SentencePiece::Kind::kUserDefined;
    }
    if (ValidUtf8Prefix(piece.text) != piece.text.size()) {
      return absl::InvalidArgumentError(absl::StrCat(field, ".piece: is not UTF-8"));
    }
  }
  return absl::OkStatus();
}

// A pair of pieces merges when together they are a piece, the one of highest score first
// (google/sentencepiece, src/bpe_model.cc).
class MergeList {
 public:
  struct Merge {
    float score = 0;
    std::string left;
    std::string right;
  };

  absl::Status Add(const std::vector<SentencePiece>& pieces) {
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (pieces[i].kind == SentencePiece::Kind::kNormal) ids_.insert(pieces[i].text);
    }
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (pieces[i].kind == SentencePiece::Kind::kNormal) RETURN_IF_ERROR(AddPiece(pieces[i], i));
    }
    std::stable_sort(merges_.begin(), merges_.end(),
                     [](const Merge& a, const Merge& b) { return a.score > b.score; });
    return absl::OkStatus();
  }
  const std::vector<Merge>& merges() const { return merges_; }

 private:
  absl::Status AddPiece(const SentencePiece& piece, size_t index) {
    if (piece.text.size() > kMaxAddedTokenBytes) {
      return Unsupported(absl::StrCat("pieces[", index, "].piece"), "longer than 1024 bytes");
    }
    const std::string_view text(piece.text);
    size_t before = 0;
    for (size_t at = 0; at < text.size(); before = at) {
      at += ReadUtf8Front(text.substr(at)).bytes;
      // Merging begins with characters; one that is no piece has no id to begin with.
      const std::string character(text.substr(before, at - before));
      if (!ids_.contains(character)) {
        return Unsupported(absl::StrCat("pieces[", index, "].piece"),
                           absl::StrCat(piece.text, " with the unknown character ", character));
      }
      const std::string left(text.substr(0, at));
      const std::string right(text.substr(at));
      if (!right.empty() && ids_.contains(left) && ids_.contains(right)) {
        merges_.push_back({piece.score, left, right});
      }
    }
    return absl::OkStatus();
  }

  absl::flat_hash_set<std::string> ids_;
  std::vector<Merge> merges_;
};

Json AddedTokensOf(const std::vector<SentencePiece>& pieces) {
  Json added = Json::array();
  for (size_t i = 0; i < pieces.size(); ++i) {
    const SentencePiece::Kind kind = pieces[i].kind;
    const bool user_defined = kind == SentencePiece::Kind::kUserDefined;
    if (!user_defined && kind != SentencePiece::Kind::kControl &&
        kind != SentencePiece::Kind::kUnknown) {
      continue;
    }
    added.push_back({{"id", i},
                     {"content", pieces[i].text},
                     {"special", !user_defined},
                     {"normalized", false}});
  }
  return added;
}

Json TemplateOf(const SentencePieceFile& file, bool bos, bool eos) {
  Json single = Json::array({{{"Sequence", {{"id", "A"}}}}});
  Json ids = Json::object();
  if (bos && file.bos_id >= 0) {
    single.insert(single.begin(), Json{{"SpecialToken", {{"id", "bos"}}}});
    ids["bos"] = {{"ids", Json::array({static_cast<TokenId>(file.bos_id)})}};
  }
  if (eos && file.eos_id >= 0) {
    single.push_back({{"SpecialToken", {{"id", "eos"}}}});
    ids["eos"] = {{"ids", Json::array({static_cast<TokenId>(file.eos_id)})}};
  }
  return {{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", ids}};
}

// The tokenizer.json that stands for the model. Steps that it cannot say are added to the spec.
absl::StatusOr<Json> DocumentOf(const SentencePieceFile& file, const MergeList& merges,
                                const Json& config) {
  ASSIGN_OR_RETURN(const bool bos, OptionalBool(config, "add_bos_token", true, "tokenizer_config"));
  ASSIGN_OR_RETURN(const bool eos,
                   OptionalBool(config, "add_eos_token", false, "tokenizer_config"));
  Json vocab = Json::object();
  for (size_t i = 0; i < file.pieces.size(); ++i) vocab[file.pieces[i].text] = i;
  Json pairs = Json::array();
  for (const MergeList::Merge& merge : merges.merges()) pairs.push_back({merge.left, merge.right});
  const Json replace = {{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}};
  return Json{{"added_tokens", MergeAddedTokens(AddedTokensOf(file.pieces), config)},
              {"post_processor", TemplateOf(file, bos, eos)},
              {"decoder",
               {{"type", "Sequence"},
                {"decoders",
                 Json::array({replace,
                              {{"type", "ByteFallback"}},
                              {{"type", "Fuse"}},
                              {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}})}}},
              {"model",
               {{"type", "BPE"},
                {"byte_fallback", true},
                {"vocab", std::move(vocab)},
                {"merges", std::move(pairs)}}}};
}

bool IsConfigured(const Json& config, TokenId id) {
  return !FieldOrNull(FieldOrNull(config, "added_tokens_decoder"), std::to_string(id)).is_null();
}

// The order of src/normalizer.cc.
absl::StatusOr<std::vector<NormalizerStep>> StepsOf(const SpaceRules& rules, const Json& config) {
  using Kind = NormalizerStep::Kind;
  ASSIGN_OR_RETURN(const bool legacy, OptionalBool(config, "legacy", true, "tokenizer_config"));
  ASSIGN_OR_RETURN(const bool prefix, OptionalBool(config, "add_prefix_space", rules.dummy_prefix,
                                                   "tokenizer_config"));
  std::vector<NormalizerStep> steps;
  if (rules.remove_extra) steps.push_back({.kind = Kind::kCollapseSpaces});
  if (prefix) steps.push_back({.kind = Kind::kPrepend, .text = kSpace, .at_start_only = !legacy});
  steps.push_back({.kind = Kind::kReplace, .text = kSpace, .pattern = " "});
  if (rules.remove_extra) steps.push_back({.kind = Kind::kStripEnd, .text = kSpace});
  return steps;
}

}  // namespace

absl::StatusOr<TokenizerSpec> SpecFromSentencePiece(const std::string& file_bytes,
                                                    const Json& config) {
  SentencePieceFile file = ReadSentencePieceFile(file_bytes);
  if (!file.error.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("no SentencePiece model: ", file.error));
  }
  const std::optional<Message> model = Message::Read(file_bytes);
  if (!model || model->firsts().size() != file.pieces.size()) {
    return absl::InvalidArgumentError("pieces: cannot be read");
  }
  ASSIGN_OR_RETURN(const SpaceRules rules, ReadRules(*model));
  RETURN_IF_ERROR(FinishPieces(*model, &file.pieces));
  MergeList merges;
  RETURN_IF_ERROR(merges.Add(file.pieces));
  ASSIGN_OR_RETURN(const Json document, DocumentOf(file, merges, config));
  ASSIGN_OR_RETURN(TokenizerSpec spec, TokenizerSpecFromJson(document));
  ASSIGN_OR_RETURN(spec.normalizer, StepsOf(rules, config));
  if (!rules.dummy_prefix) spec.decoder.rules.strip_spaces = 0;
  // Merges of equal score: the leftmost first, whichever pieces they make.
  for (size_t i = 1; i < spec.model.merges.size(); ++i) {
    if (merges.merges()[i].score == merges.merges()[i - 1].score) {
      spec.model.merges[i].rank = spec.model.merges[i - 1].rank;
    }
  }
  for (AddedToken& token : spec.added_tokens) {
    if (token.id >= file.pieces.size()) continue;
    const SentencePiece::Kind kind = file.pieces[token.id].kind;
    if (kind == SentencePiece::Kind::kUserDefined) {
      // Whole in the normalised text: no space is put in front of what follows.
      token.normalized = true;
      token.content = ReplaceAll(token.content, " ", kSpace);
    } else if (kind == SentencePiece::Kind::kUnknown && !IsConfigured(config, token.id)) {
      token.content.clear();  // "<unk>" in a text is five characters
    }
  }
  return spec;
}

}  // namespace headlong
