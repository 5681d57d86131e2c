// Shapes beyond the reference models, against a forward pass in fp64: every head_dim, every group,
// vocabularies and MLPs that no number of workers divides, every storage type and file layout.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/model/model_folder.h"
#include "tests/worker/local_workers.h"
#include "tests/worker/reference_forward.h"

namespace headlong {
namespace {

constexpr double kTolerance = 1e-3;

Json Shape(const std::string& architecture, int head_dim, int kv_heads, int group) {
  return {{"architectures", {architecture}},
          {"num_hidden_layers", 2},
          {"num_attention_heads", kv_heads * group},
          {"num_key_value_heads", kv_heads},
          {"head_dim", head_dim},
          {"hidden_size", 20},
          {"intermediate_size", 37},
          {"vocab_size", 101},
          {"rms_norm_eps", 1e-5},
          {"max_position_embeddings", 128},
          {"sliding_window", nullptr}};
}

// On 1 and 3 workers, one prefill in chunks of 9 and steps after it.
void ExpectReference(const RandomFolder& spec) {
  SCOPED_TRACE(spec.config.dump() + " " + spec.dtype);
  const TempFolder folder;
  ASSERT_TRUE(WriteRandomModel(folder.path(), spec).ok());
  std::vector<uint32_t> tokens;
  const int vocab = spec.config["vocab_size"].get<int>();
  for (int i = 0; i < 30; ++i) tokens.push_back((vocab - 1 + i * 37) % vocab);
  std::vector<double> expected;
  for (const int count : {1, 3}) {
    LocalOptions options;
    options.model_dir = folder.path();
    options.workers = count;
    auto workers = LocalWorkers::Begin(options);
    ASSERT_TRUE(workers.ok()) << workers.status();
    if (expected.empty()) {
      const auto checkpoint = Checkpoint::Open(folder.path(), (*workers)->config());
      ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
      expected = ReferenceLogits(**checkpoint, (*workers)->config(), tokens);
    }
    auto logits = (*workers)->Prefill(1, {tokens.begin(), tokens.end() - 2}, 9);
    for (int left : {2, 1}) {
      ASSERT_TRUE(logits.ok()) << logits.status();
      const int at = static_cast<int>(tokens.size()) - left;
      logits = (*workers)->Extend(1, at, {tokens[at]});
    }
    ASSERT_TRUE(logits.ok()) << logits.status();
    ASSERT_EQ(logits->size(), expected.size());
    double worst = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      worst = std::max(worst, std::abs((*logits)[i] - expected[i]));
    }
    EXPECT_LE(worst, kTolerance) << count << " workers";
  }
}

TEST(Shapes, EveryHeadDim) {
  for (int head_dim = 8; head_dim <= 256; head_dim += 8) {
    const bool norms = head_dim % 16 == 0;
    ExpectReference({Shape(norms ? "Qwen3ForCausalLM" : "Qwen2ForCausalLM", head_dim, 2, 2)});
  }
}

TEST(Shapes, EveryGroup) {
  for (int group = 1; group <= 16; ++group) {
    ExpectReference({Shape("LlamaForCausalLM", 16, 1 + group % 3, group)});
  }
}

TEST(Shapes, OddVocabularies) {
  for (const int vocab : {1, 2, 3, 7, 257, 1009}) {
    for (const bool tied : {false, true}) {
      RandomFolder spec{Shape("MistralForCausalLM", 24, 3, 1)};
      spec.config["vocab_size"] = vocab;
      spec.config["tie_word_embeddings"] = tied;
      ExpectReference(spec);
    }
  }
}

TEST(Shapes, EveryStorageTypeInOneFileAndInSeveral) {
  for (const char* dtype : {"F32", "F16", "BF16"}) {
    for (const int shards : {1, 2, 5}) {
      for (const bool tied : {false, true}) {
        RandomFolder spec{Shape("Qwen2ForCausalLM", 40, 2, 3), dtype, shards};
        spec.config["tie_word_embeddings"] = tied;
        ExpectReference(spec);
      }
    }
  }
}

// Windows in some layers only, of lengths about a block and at both ends.
TEST(Shapes, SlidingWindows) {
  for (const int window : {1, 2, 15, 16, 17, 29}) {
    RandomFolder spec{Shape("Qwen3ForCausalLM", 16, 2, 2)};
    spec.config["sliding_window"] = window;
    spec.config["use_sliding_window"] = true;
    spec.config["layer_types"] = {"sliding_attention", "full_attention"};
    ExpectReference(spec);
    spec.config.erase("layer_types");
    spec.config["max_window_layers"] = 1;
    ExpectReference(spec);
    spec.config["max_window_layers"] = 0;
    spec.config["num_attention_heads"] = 32;  // many rows in a tile
    ExpectReference(spec);
  }
}

}  // namespace
}  // namespace headlong
