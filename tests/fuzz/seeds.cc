#include "tests/fuzz/seeds.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "common/json.h"
#include "model/sentencepiece.pb.h"
#include "tests/support/paths.h"

namespace headlong {
namespace {

namespace fs = std::filesystem;
using Seeds = std::vector<std::string>;
using SentencePieceModel = sentencepiece::ModelProto;

constexpr int kMergesOfSeeds = 40;
constexpr char kText[] = "the <s> needle\n  \xE2\x96\x81 \xF0\x9F\x98\x80";

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::exit(1);
}

fs::path Needle() { return SourceDir() / "models" / "needle-10m"; }

std::vector<fs::path> Families() {
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(GoldenPath("families"))) {
    folders.push_back(entry.path());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

std::string Little64(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(value >> 8 * i & 0xFF));
  return bytes;
}

// The names and types of a file, every tensor with one element of each axis.
std::string SmallSafetensors(const fs::path& path) {
  const std::string file = OrDie(ReadFile(path));
  uint64_t length = 0;
  for (int i = 0; i < 8; ++i) length |= uint64_t{static_cast<unsigned char>(file[i])} << 8 * i;
  Json header = OrDie(ParseJson(file.substr(8, length), path.string()));
  int64_t end = 0;
  for (auto& [name, tensor] : header.items()) {
    if (name == "__metadata__") continue;
    const int64_t bytes = tensor["dtype"] == "F32" ? 4 : 2;
    for (Json& axis : tensor["shape"]) axis = 1;
    tensor["data_offsets"] = {end, end + bytes};
    end += bytes;
  }
  const std::string text = header.dump();
  return Little64(text.size()) + text + std::string(static_cast<size_t>(end), '\x3C');
}

Seeds SafetensorsSeeds() {
  Seeds seeds;
  for (const char* name : {"llama", "llama3_rope", "qwen2", "qwen3"}) {
    seeds.push_back(SmallSafetensors(GoldenPath("families") / name / "model.safetensors"));
  }
  const fs::path sharded = GoldenPath("families") / "llama_yarn";
  seeds.push_back(SmallSafetensors(sharded / "model-00005-of-00006.safetensors"));
  seeds.push_back(OrDie(ReadFile(sharded / "model.safetensors.index.json")));
  return seeds;
}

Seeds ConfigSeeds() {
  std::vector<fs::path> folders = Families();
  folders.push_back(Needle());
  Seeds seeds;
  for (const fs::path& folder : folders) {
    seeds.push_back(OrDie(ReadFile(folder / "config.json")) + '\0' +
                    OrDie(ReadFile(folder / "generation_config.json")));
  }
  return seeds;
}

Seeds PlanSeeds() {
  Json exact = OrDie(ReadJsonFile(Needle() / "plan.json"));
  exact["prefill"] = "exact";
  exact["policies"]["wide"] = {{"window_tokens", 1024}, {"sinks", 0}, {"compensation", "none"}};
  exact["heads"].push_back({{"layer", 0}, {"heads", {2}}, {"policy", "wide"}});
  return {OrDie(ReadFile(Needle() / "plan.json")), exact.dump()};
}

// The document with the tokens of bytes, the added ones, and the first merges.
Json SmallTokenizer(Json document) {
  Json& model = document["model"];
  Json vocab = Json::object();
  Json merges = Json::array();
  const auto keep = [&](const std::string& text) {
    if (model["vocab"].contains(text)) vocab[text] = model["vocab"][text];
  };
  for (const auto& [text, id] : model["vocab"].items()) {
    if (text.size() <= 2) keep(text);
  }
  for (const Json& token : document["added_tokens"]) keep(token["content"]);
  for (const Json& merge : model["merges"]) {
    if (merges.size() == kMergesOfSeeds) break;
    const auto left = merge[0].get<std::string>();
    const auto right = merge[1].get<std::string>();
    if (!vocab.contains(left) || !vocab.contains(right)) continue;
    keep(left + right);
    merges.push_back(merge);
  }
  model["vocab"] = std::move(vocab);
  model["merges"] = std::move(merges);
  return document;
}

Seeds TokenizerSeeds() {
  const Json needle = SmallTokenizer(OrDie(ReadJsonFile(Needle() / "tokenizer.json")));
  Seeds seeds{needle.dump() + '\0' + kText};
  seeds.push_back(OrDie(ReadFile(GoldenPath("families/llama/tokenizer.json"))) + '\0' + kText);
  for (const char* name : {"tokenizer_options.json", "tokenizer_fallback.json"}) {
    const Json golden = OrDie(ReadJsonFile(GoldenPath(name)));
    for (size_t i = 0; i < golden["cases"].size(); i += 7) {
      Json document = golden["cases"][i].at("document");
      if (!document.contains("model")) document["model"] = golden["model"];
      seeds.push_back(document.dump() + '\0' + kText);
    }
  }
  return seeds;
}

// The byte that chooses a tokenizer_config.json, then a model of pieces of needle-10m's words.
Seeds SentencePieceSeeds() {
  SentencePieceModel model;
  model.mutable_trainer_spec()->set_model_type(2);
  model.mutable_trainer_spec()->set_byte_fallback(true);
  model.mutable_normalizer_spec()->set_name("identity");
  model.mutable_normalizer_spec()->set_remove_extra_whitespaces(false);
  float score = 0;
  const auto add = [&](const std::string& text, SentencePieceModel::Piece::Type type) {
    auto* piece = model.add_pieces();
    piece->set_piece(text);
    piece->set_type(type);
    piece->set_score(type == SentencePieceModel::Piece::NORMAL ? score-- : 0);
  };
  add("<unk>", SentencePieceModel::Piece::UNKNOWN);
  add("<s>", SentencePieceModel::Piece::CONTROL);
  add("</s>", SentencePieceModel::Piece::CONTROL);
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof(text), "<0x%02X>", byte);
    add(text, SentencePieceModel::Piece::BYTE);
  }
  for (const char* piece : {"\xE2\x96\x81t", "he", "\xE2\x96\x81the", "ne", "ed", "need",
                            "\xE2\x96\x81", "t", "h", "e", "n", "d", "l"}) {
    add(piece, SentencePieceModel::Piece::NORMAL);
  }
  const std::string plain = model.SerializeAsString();
  add("<|user|>", SentencePieceModel::Piece::USER_DEFINED);
  model.mutable_normalizer_spec()->set_remove_extra_whitespaces(true);
  const std::string collapsing = model.SerializeAsString();
  model.mutable_normalizer_spec()->set_add_dummy_prefix(false);
  const std::string bare = model.SerializeAsString();
  return {'\0' + plain, '\1' + plain, '\2' + collapsing, '\3' + bare};
}

// Five texts with NULs between them; see vocab_merges_fuzz.cc.
Seeds VocabMergesSeeds() {
  const Json document = SmallTokenizer(OrDie(ReadJsonFile(Needle() / "tokenizer.json")));
  std::string merges = "#version: 0.2\n";
  for (const Json& merge : document["model"]["merges"]) {
    merges += merge[0].get<std::string>() + " " + merge[1].get<std::string>() + "\n";
  }
  const std::string files = document["model"]["vocab"].dump() + '\0' + merges + '\0';
  const char* configs[] = {
      R"({"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|begin_of_text|>"})",
      R"({"tokenizer_class": "Qwen2TokenizerFast", "add_prefix_space": true, "add_bos_token": true,
          "bos_token": {"content": "<|begin_of_text|>", "special": true},
          "additional_special_tokens": ["<|x|>", {"content": "<|end_of_text|>"}],
          "added_tokens_decoder": {"9001": {"content": "<|x|>", "lstrip": true}}})"};
  Seeds seeds;
  for (const char* config : configs) {
    seeds.push_back(files + config + '\0' + R"({"<|y|>": 9000})" + '\0' +
                    R"({"model_type": "gpt2"})" + '\0' + kText);
  }
  seeds.push_back(files + R"({"bos_token": "<|begin_of_text|>"})" + '\0' + '\0' +
                  R"({"model_type": "llama"})" + '\0' + kText);
  return seeds;
}

Seeds EvidenceSeeds() {
  const std::string plan = OrDie(ReadFile(Needle() / "plan.json"));
  const std::string shape =
      R"({"version":1,"model":"m","layers":8,"kv_heads":4,"head_dim":64,"element_bytes":2,)"
      R"("context":8192,)";
  const std::string costs =
      R"("costs":[{"layer":6,"head":1,"sinks":4,"window_tokens":256,"compensation":"mean",)"
      R"("kl":2.5},{"layer":0,"head":0,"sinks":0,"window_tokens":64,"compensation":"none",)"
      R"("kl":1e-4},{"layer":0,"head":0,"sinks":4,"window_tokens":512,"compensation":"mean",)"
      R"("kl":0}])";
  return {shape + costs + R"(,"plans":[{"name":"p","kl":0.1,"plan":)" + plan +
              R"(,"needle":[{"length":4096,"depth":0.5,"trials":2,"correct":1}]}]})",
          R"({"version":1,"model":"m","layers":1,"kv_heads":2,"head_dim":8,"element_bytes":2,)"
          R"("context":64,"scores":{"echo":[[0,1]],"induction":[[0.5,1e-9]],"needle":[[0,1]],)"
          R"("similarity":[0.5]},"groups":[{"heads":[[0,1]],"window_tokens":64,"kl":1,"sum":2}]})"};
}

Seeds ContextsSeeds() {
  return {R"({"current":"prod","contexts":{"prod":{"server":"10.0.0.1:7000","tls":false,)"
          R"("tls_ca":"/etc/headlong/ca.crt","token_file":"prod.token"},)"
          R"("lab":{"server":"[::1]:0","tls":true}}})",
          R"({"contexts":{"a.b-c_1":{"server":"h:65535"}}})", "{}"};
}

struct TargetSeeds {
  const char* target;
  Seeds (*seeds)();
};
constexpr TargetSeeds kTargets[] = {{"safetensors_fuzz", SafetensorsSeeds},
                                    {"config_fuzz", ConfigSeeds},
                                    {"plan_fuzz", PlanSeeds},
                                    {"evidence_fuzz", EvidenceSeeds},
                                    {"tokenizer_fuzz", TokenizerSeeds},
                                    {"sentencepiece_fuzz", SentencePieceSeeds},
                                    {"vocab_merges_fuzz", VocabMergesSeeds},
                                    {"contexts_fuzz", ContextsSeeds}};

}  // namespace

std::vector<std::string> FuzzTargets() {
  std::vector<std::string> names;
  for (const TargetSeeds& entry : kTargets) names.emplace_back(entry.target);
  return names;
}

std::vector<std::string> FuzzSeeds(std::string_view target) {
  for (const TargetSeeds& entry : kTargets) {
    if (target == entry.target) return entry.seeds();
  }
  std::fprintf(stderr, "no fuzz target of this name\n");
  std::exit(1);
}

}  // namespace headlong
