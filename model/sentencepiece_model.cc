#include "model/sentencepiece_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "common/status.h"
#include "model/added_tokens.h"
#include "model/normalizer.h"
#include "model/sentencepiece.pb.h"
#include "model/tokenizer_files.h"
#include "model/tokenizer_json.h"
#include "model/utf8.h"

namespace headlong {
namespace {

constexpr char kSpace[] = "\xE2\x96\x81";  // U+2581 stands for a space

using Model = sentencepiece::ModelProto;
using Piece = sentencepiece::ModelProto::Piece;

struct SpaceRules {
  bool dummy_prefix = true;  // a space in front of a text
  bool remove_extra = true;  // of several spaces one, none at the ends
};

// Whatever else a model may ask for is refused.
absl::StatusOr<SpaceRules> ReadRules(const Model& model) {
  const sentencepiece::TrainerSpec& trainer = model.trainer_spec();
  const sentencepiece::NormalizerSpec& normalizer = model.normalizer_spec();
  if (trainer.model_type() != 2)
    return Unsupported("trainer_spec.model_type", trainer.model_type());
  if (trainer.treat_whitespace_as_suffix()) {
    return Unsupported("trainer_spec.treat_whitespace_as_suffix", true);
  }
  if (!trainer.byte_fallback()) return Unsupported("trainer_spec.byte_fallback", false);
  if (!normalizer.precompiled_charsmap().empty()) {
    return Unsupported("normalizer_spec.precompiled_charsmap", normalizer.name());
  }
  if (!normalizer.escape_whitespaces()) {
    return Unsupported("normalizer_spec.escape_whitespaces", false);
  }
  return SpaceRules{normalizer.add_dummy_prefix(), normalizer.remove_extra_whitespaces()};
}

// A text names one piece, and one piece stands for what is unknown.
absl::Status CheckPieces(const Model& model) {
  absl::flat_hash_set<std::string_view> texts;
  int unknown = 0;
  for (int i = 0; i < model.pieces_size(); ++i) {
    const Piece& piece = model.pieces(i);
    const std::string field = absl::StrCat("pieces[", i, "]");
    if (piece.type() == Piece::UNUSED) return Unsupported(absl::StrCat(field, ".type"), "UNUSED");
    if (piece.piece().empty()) {
      return absl::InvalidArgumentError(absl::StrCat(field, ".piece: is empty"));
    }
    if (ValidUtf8Prefix(piece.piece()) != piece.piece().size()) {
      return absl::InvalidArgumentError(absl::StrCat(field, ".piece: is not UTF-8"));
    }
    if (!texts.insert(piece.piece()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, ".piece: ", piece.piece(), " is there twice"));
    }
    if (!std::isfinite(piece.score())) {
      return absl::InvalidArgumentError(absl::StrCat(field, ".score: is not finite"));
    }
    unknown += piece.type() == Piece::UNKNOWN ? 1 : 0;
  }
  if (unknown == 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("pieces: must have one of type UNKNOWN, has ", unknown));
}

// The control piece of this text; -1: there is none.
int ControlId(const Model& model, const std::string& text) {
  for (int i = 0; i < model.pieces_size(); ++i) {
    if (model.pieces(i).piece() == text && model.pieces(i).type() == Piece::CONTROL) return i;
  }
  return -1;
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

  absl::Status Add(const Model& model) {
    for (const Piece& piece : model.pieces()) {
      if (piece.type() == Piece::NORMAL) ids_.insert(piece.piece());
    }
    for (int i = 0; i < model.pieces_size(); ++i) {
      if (model.pieces(i).type() == Piece::NORMAL) RETURN_IF_ERROR(AddPiece(model.pieces(i), i));
    }
    std::stable_sort(merges_.begin(), merges_.end(),
                     [](const Merge& a, const Merge& b) { return a.score > b.score; });
    return absl::OkStatus();
  }
  const std::vector<Merge>& merges() const { return merges_; }

 private:
  absl::Status AddPiece(const Piece& piece, int index) {
    if (piece.piece().size() > kMaxAddedTokenBytes) {
      return Unsupported(absl::StrCat("pieces[", index, "].piece"), "longer than 1024 bytes");
    }
    const std::string_view text(piece.piece());
    size_t before = 0;
    for (size_t at = 0; at < text.size(); before = at) {
      at += ReadUtf8Front(text.substr(at)).bytes;
      // Merging begins with characters; one that is no piece has no id to begin with.
      const std::string character(text.substr(before, at - before));
      if (!ids_.contains(character)) {
        return Unsupported(absl::StrCat("pieces[", index, "].piece"),
                           absl::StrCat(piece.piece(), " with the unknown character ", character));
      }
      const std::string left(text.substr(0, at));
      const std::string right(text.substr(at));
      if (!right.empty() && ids_.contains(left) && ids_.contains(right)) {
        merges_.push_back({piece.score(), left, right});
      }
    }
    return absl::OkStatus();
  }

  absl::flat_hash_set<std::string> ids_;
  std::vector<Merge> merges_;
};

Json AddedTokensOf(const Model& model) {
  Json added = Json::array();
  for (int i = 0; i < model.pieces_size(); ++i) {
    const Piece::Type type = model.pieces(i).type();
    if (type == Piece::NORMAL || type == Piece::BYTE) continue;
    added.push_back({{"id", static_cast<TokenId>(i)},
                     {"content", model.pieces(i).piece()},
                     {"special", type != Piece::USER_DEFINED},
                     {"normalized", false}});
  }
  return added;
}

Json TemplateOf(const Model& model, bool bos, bool eos) {
  const int bos_id = ControlId(model, model.trainer_spec().bos_piece());
  const int eos_id = ControlId(model, model.trainer_spec().eos_piece());
  Json single = Json::array({{{"Sequence", {{"id", "A"}}}}});
  Json ids = Json::object();
  if (bos && bos_id >= 0) {
    single.insert(single.begin(), Json{{"SpecialToken", {{"id", "bos"}}}});
    ids["bos"] = {{"ids", Json::array({static_cast<TokenId>(bos_id)})}};
  }
  if (eos && eos_id >= 0) {
    single.push_back({{"SpecialToken", {{"id", "eos"}}}});
    ids["eos"] = {{"ids", Json::array({static_cast<TokenId>(eos_id)})}};
  }
  return {{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", ids}};
}

// The tokenizer.json that stands for the model. Steps that it cannot say are added to the spec.
absl::StatusOr<Json> DocumentOf(const Model& model, const MergeList& merges, const Json& config) {
  ASSIGN_OR_RETURN(const bool bos, OptionalBool(config, "add_bos_token", true, "tokenizer_config"));
  ASSIGN_OR_RETURN(const bool eos,
                   OptionalBool(config, "add_eos_token", false, "tokenizer_config"));
  Json vocab = Json::object();
  for (const Piece& piece : model.pieces()) {
    vocab[piece.piece()] = static_cast<TokenId>(vocab.size());
  }
  Json pairs = Json::array();
  for (const MergeList::Merge& merge : merges.merges()) pairs.push_back({merge.left, merge.right});
  const Json replace = {{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}};
  return Json{{"added_tokens", MergeAddedTokens(AddedTokensOf(model), config)},
              {"post_processor", TemplateOf(model, bos, eos)},
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
  Model model;
  if (!model.ParseFromString(file_bytes) || model.pieces().empty()) {
    return absl::InvalidArgumentError("no SentencePiece model");
  }
  ASSIGN_OR_RETURN(const SpaceRules rules, ReadRules(model));
  RETURN_IF_ERROR(CheckPieces(model));
  MergeList merges;
  RETURN_IF_ERROR(merges.Add(model));
  ASSIGN_OR_RETURN(const Json document, DocumentOf(model, merges, config));
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
    if (token.id >= static_cast<TokenId>(model.pieces_size())) continue;
    const Piece::Type type = model.pieces(static_cast<int>(token.id)).type();
    if (type == Piece::USER_DEFINED) {
      // Whole in the normalised text: no space is put in front of what follows.
      token.normalized = true;
      token.content = ReplaceAll(token.content, " ", kSpace);
    } else if (type == Piece::UNKNOWN && !IsConfigured(config, token.id)) {
      token.content.clear();  // "<unk>" in a text is five characters
    }
  }
  return spec;
}

}  // namespace headlong
