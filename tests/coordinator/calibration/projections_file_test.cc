#include "coordinator/calibration/projections_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "tests/support/orthonormal.h"

namespace headlong {
namespace {

using testing::HasSubstr;

class ProjectionsFileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  std::filesystem::path Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }
  std::filesystem::path folder_;
};

std::shared_ptr<const Projections> Three() {
  return Projections::Create(
             32, {{{0, 1}, {RandomOrthonormal(1, 16, 32), {}}},
                  {{0, 2}, {{}, RandomOrthonormal(2, 32, 32)}},
                  {{11, 0}, {RandomOrthonormal(3, 16, 32), RandomOrthonormal(4, 16, 32)}}})
      .value();
}

TEST_F(ProjectionsFileTest, AreReadAsTheyWereWritten) {
  const auto read = ReadProjections(Write("p.safetensors", ProjectionsFile(*Three())));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ((*read)->heads(), Three()->heads());
  EXPECT_EQ((*read)->digest(), Three()->digest());
}

TEST_F(ProjectionsFileTest, TheWireHasThemToo) {
  WireProjections wire;
  const auto three = Three();
  for (const auto& [place, head] : three->heads()) {
    AddToWire(place.first, place.second, head, wire);
  }
  EXPECT_EQ(FromWire(wire, 32).value()->digest(), Three()->digest());
  const v1::HeadProjection first = wire[0];
  *wire.Add() = first;
  EXPECT_EQ(FromWire(wire, 32).status().message(), "projections: layer 0 head 1 is there twice");
}

TEST_F(ProjectionsFileTest, WrongOnesAreRefusedByName) {
  std::string file = ProjectionsFile(*Three());
  const auto refused = [&](const std::string& bytes) {
    const auto path = Write("wrong.safetensors", bytes);
    const std::string message(ReadProjections(path).status().message());
    EXPECT_THAT(message, HasSubstr(path.string()));
    return message;
  };
  EXPECT_THAT(refused(file.substr(0, 100)), HasSubstr("wrong.safetensors"));
  std::string renamed = file;
  renamed.replace(renamed.find("layers.0.heads.1.k"), 18, "layers.0.heads.1.q");
  EXPECT_THAT(refused(renamed), HasSubstr("tensor layers.0.heads.1.q: is no projection"));
  std::string padded = file;
  padded.replace(padded.find("layers.11.heads.0.k"), 19, "layers.011.heads.0k");
  EXPECT_THAT(refused(padded), HasSubstr("is no projection"));
  std::string damaged = file;
  damaged[damaged.size() - 1] ^= 0x40;  // the exponent of the last number
  EXPECT_THAT(refused(damaged), HasSubstr("layer 11 head 0 v: rows"));
  EXPECT_EQ(ReadProjections(folder_ / "none").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ProjectionsFileTest, ThePlanSaysWhichFile) {
  const std::string json = absl::StrCat(
      R"({"version":1,"layers":12,"kv_heads":3,"policies":{"full":{},"low":{"rank":{"k":16}}},)",
      R"("projections":{"file":"p.safetensors","sha256":")", Three()->digest(),
      R"("},"default":"full","heads":[{"layer":0,"heads":[1],"policy":"low"}]})");
  Plan plan = Plan::FromJson(json, {12, 3, "", {}, 32}, "plan").value();
  EXPECT_THAT(std::string(LoadProjections(folder_ / "plan.json", 32, plan).message()),
              HasSubstr("p.safetensors"));
  Write("p.safetensors", ProjectionsFile(*Three()));
  EXPECT_THAT(std::string(LoadProjections(folder_ / "plan.json", 64, plan).message()),
              HasSubstr("is for a head_dim of 32, the model has 64"));
  const absl::Status loaded = LoadProjections(folder_ / "plan.json", 32, plan);
  EXPECT_TRUE(loaded.ok()) << loaded;
  EXPECT_NE(plan.projections(), nullptr);
}

}  // namespace
}  // namespace headlong
