#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/json.h"
#include "model/checkpoint.h"
#include "model/weight_files.h"
#include "tests/model/model_folder.h"

namespace headlong {
namespace {

using ::testing::HasSubstr;

constexpr char kIndex[] = "model.safetensors.index.json";

// Even tensors in "a", odd ones in "b".
struct Shards {
  std::vector<TestTensor> a;
  std::vector<TestTensor> b;
  Json map = Json::object();

  Shards() {
    const std::vector<TestTensor> tensors = TinyTensors();
    for (size_t i = 0; i < tensors.size(); ++i) {
      (i % 2 ? b : a).push_back(tensors[i]);
      map[tensors[i].name] = i % 2 ? "b.safetensors" : "a.safetensors";
    }
  }
  void WriteTo(const TempFolder& folder) const {
    folder.Write("a.safetensors", MakeSafetensors(a, '\x3A'));
    folder.Write("b.safetensors", MakeSafetensors(b, '\x3B'));
    folder.Write(kIndex, Json{{"metadata", {{"total_size", 1}}}, {"weight_map", map}}.dump());
  }
  absl::Status Open() const {
    const TempFolder folder;
    WriteTo(folder);
    return Checkpoint::Open(folder.path(), TinyConfig()).status();
  }
  std::string Error() const { return std::string(Open().message()); }
};

TEST(CheckpointShards, OpensBoth) {
  const TempFolder folder;
  Shards().WriteTo(folder);
  const auto checkpoint = Checkpoint::Open(folder.path(), TinyConfig());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->tensor("model.embed_tokens.weight").data[0], std::byte{0x3A});
  EXPECT_EQ((*checkpoint)->tensor("lm_head.weight").data[0], std::byte{0x3B});
}

TEST(CheckpointShards, OneFileIsTakenBeforeAnIndex) {
  const TempFolder folder;
  Shards().WriteTo(folder);
  folder.Write("model.safetensors", MakeSafetensors(TinyTensors(), '\x11'));
  const auto checkpoint = Checkpoint::Open(folder.path(), TinyConfig());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->tensor("lm_head.weight").data[0], std::byte{0x11});
}

// models--x/snapshots/rev/file -> ../../blobs/hash, as the hub's cache lays a model out.
TEST(CheckpointShards, LinksOfAHubCache) {
  const TempFolder folder;
  const auto blobs = folder.path() / "blobs";
  const auto snapshot = folder.path() / "snapshots" / "rev";
  std::filesystem::create_directories(blobs);
  std::filesystem::create_directories(snapshot);
  Shards().WriteTo(folder);
  for (const std::string name : {"a.safetensors", "b.safetensors", kIndex}) {
    std::filesystem::rename(folder.path() / name, blobs / ("hash-of-" + name));
    std::filesystem::create_symlink("../../blobs/hash-of-" + name, snapshot / name);
  }
  EXPECT_TRUE(Checkpoint::Open(snapshot, TinyConfig()).ok());
}

TEST(CheckpointShards, NamesAMissingShard) {
  const TempFolder folder;
  Shards().WriteTo(folder);
  std::filesystem::remove(folder.path() / "b.safetensors");
  const auto status = Checkpoint::Open(folder.path(), TinyConfig()).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("b.safetensors: no such file; 1 of the 2 files that"));
}

TEST(CheckpointShards, ShardsWithoutTheirIndex) {
  const TempFolder folder;
  Shards().WriteTo(folder);
  std::filesystem::remove(folder.path() / kIndex);
  EXPECT_THAT(std::string(Checkpoint::Open(folder.path(), TinyConfig()).status().message()),
              HasSubstr("no weights: neither model.safetensors nor model.safetensors.index.json; "
                        "a.safetensors is there"));
}

TEST(CheckpointShards, NamesTheTruncatedShard) {
  const TempFolder folder;
  Shards().WriteTo(folder);
  std::filesystem::resize_file(folder.path() / "b.safetensors",
                               std::filesystem::file_size(folder.path() / "b.safetensors") - 1);
  EXPECT_THAT(std::string(Checkpoint::Open(folder.path(), TinyConfig()).status().message()),
              HasSubstr("b.safetensors: tensor \"lm_head.weight\": truncated"));
}

TEST(CheckpointShards, EveryTensorIsWhereTheIndexSays) {
  Shards moved;
  moved.map["lm_head.weight"] = "a.safetensors";
  EXPECT_THAT(moved.Error(),
              HasSubstr("b.safetensors: tensor \"lm_head.weight\": belongs in a.safetensors"));
  Shards unlisted;
  unlisted.map.erase("lm_head.weight");
  EXPECT_THAT(unlisted.Error(), HasSubstr("b.safetensors: tensor \"lm_head.weight\": is not in"));
  Shards twice;
  twice.b.push_back(twice.a.front());
  EXPECT_THAT(twice.Error(),
              HasSubstr("b.safetensors: tensor \"model.embed_tokens.weight\": belongs in a."));
  Shards gone;
  gone.b.pop_back();
  EXPECT_THAT(gone.Error(),
              HasSubstr("b.safetensors: tensor \"lm_head.weight\": is missing, the index places"));
  Shards listed;
  listed.map["extra"] = "a.safetensors";
  EXPECT_THAT(listed.Error(), HasSubstr("a.safetensors: tensor \"extra\": is missing"));
}

TEST(CheckpointShards, NoFileNameLeadsOutOfTheFolder) {
  for (const std::string name :
       {"../a.safetensors", "/etc/passwd", "/tmp/a.safetensors", "x/a.safetensors", "..", ".", "",
        ".safetensors", ".hidden.safetensors", "a..safetensors", "..\\a.safetensors",
        "c:a.safetensors", "a.bin", "a.safetensors/", "config.json", "a\n.safetensors",
        "a.safetensors/../b.safetensors"}) {
    Shards shards;
    shards.map["lm_head.weight"] = name;
    const absl::Status status = shards.Open();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << name;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("weight_map: \"lm_head.weight\": must be the plain name of"));
  }
  Shards zero;
  zero.map["lm_head.weight"] = std::string("a\0.safetensors", 14);
  EXPECT_THAT(zero.Error(), HasSubstr("must be the plain name of"));
  Shards endless;
  endless.map["lm_head.weight"] = std::string(300, 'a') + ".safetensors";
  EXPECT_THAT(endless.Error(), HasSubstr("must be the plain name of"));
  Shards typed;
  typed.map["lm_head.weight"] = 1;
  EXPECT_THAT(typed.Error(), HasSubstr("must be the plain name of a .safetensors file, is 1"));
}

TEST(ParseWeightIndex, RefusesBadIndexes) {
  const auto error_of = [](const std::string& text) {
    return std::string(ParseWeightIndex(text, "index").status().message());
  };
  EXPECT_THAT(error_of(""), HasSubstr("index: not valid JSON"));
  EXPECT_THAT(error_of("[]"), HasSubstr("index: weight_map: must be an object"));
  EXPECT_THAT(error_of("{}"),
              HasSubstr("weight_map: must be an object of tensor names, is missing"));
  EXPECT_THAT(error_of(R"({"weight_map": {}})"), HasSubstr("is an object of 0 fields"));
  EXPECT_THAT(error_of(R"({"weight_map": []})"), HasSubstr("is a list of 0"));
  EXPECT_THAT(error_of(R"({"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}})"),
              HasSubstr("key \"a\" stands twice"));
  Json many = Json::object();
  for (int i = 0; i < 5000; ++i) many[absl::StrCat(i)] = absl::StrCat(i, ".safetensors");
  EXPECT_THAT(error_of(Json{{"weight_map", many}}.dump()), HasSubstr("more than 4096 files"));
}

}  // namespace
}  // namespace headlong
