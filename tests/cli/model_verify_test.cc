// Weights that are read as a whole: hashes, numbers that are none, shapes.
#include "cli/model_verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "tests/cli/command_fixture.h"
#include "tests/support/paths.h"

namespace headlong {
namespace {

using ::testing::HasSubstr;

constexpr char kNothing[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

template <typename T>
int64_t Count(const char* dtype, const std::vector<T>& numbers) {
  return CountNotFinite(dtype, reinterpret_cast<const std::byte*>(numbers.data()),
                        static_cast<int64_t>(numbers.size()));
}

TEST(NotFinite, ByType) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Count<float>("F32", {0, -0.f, 3e38f, 1e-45f, inf, -inf, std::nanf("")}), 3);
  EXPECT_EQ(Count<uint16_t>("BF16", {0x0000, 0x7f7f, 0x7f80, 0xff80, 0xffc0}), 3);
  EXPECT_EQ(Count<uint16_t>("F16", {0x7bff, 0x7c00, 0xfc00, 0x7e00, 0x3c00}), 3);
  EXPECT_EQ(Count<double>("F64", {1.0, inf}), 1);
  EXPECT_EQ(Count<uint32_t>("I32", {0xffffffff}), 0);
}

TEST(Sums, AsTheToolWritesThem) {
  const std::string hash = kNothing;
  const auto sums = ParseSums(hash + "  a.safetensors\n" + hash + " *sub/b.safetensors\n\n", "S");
  ASSERT_TRUE(sums.ok()) << sums.status();
  EXPECT_EQ(sums->at("a.safetensors"), hash);
  EXPECT_EQ(sums->at("b.safetensors"), hash);
  for (const std::string& wrong : {hash, std::string("123  a"), hash.substr(1) + "x  a"}) {
    EXPECT_THAT(std::string(ParseSums("\n" + wrong, "S").status().message()),
                HasSubstr("S line 2"));
  }
}

class ModelVerify : public CommandsTest {
 protected:
  void SetUp() override {
    CommandsTest::SetUp();
    for (const auto& entry :
         std::filesystem::directory_iterator(SourceDir() / "models" / "needle-10m")) {
      std::filesystem::copy(entry.path(), folder_ / entry.path().filename());
    }
  }
  // Overwrites the last bytes of the weights.
  void Spoil(const std::string& bytes) {
    std::fstream file(folder_ / "model.safetensors",
                      std::ios::in | std::ios::out | std::ios::binary | std::ios::ate);
    file.seekp(-static_cast<std::streamoff>(bytes.size()), std::ios::end);
    file << bytes;
  }
  Outcome Verify(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments{"model",          "verify", "--model",
                                       folder_.string(), "-o",     "json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunHeadlong(arguments);
  }
};

TEST_F(ModelVerify, AWholeModel) {
  const Outcome outcome = Verify();
  ASSERT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  const Json json = Parsed(outcome.out);
  EXPECT_EQ(json["ok"], true);
  EXPECT_EQ(json["files"].size(), 1u);
  EXPECT_EQ(json["files"][0]["bytes"].get<uint64_t>(),
            std::filesystem::file_size(folder_ / "model.safetensors"));
  EXPECT_GT(json["tensors"], 50);
  EXPECT_GT(json["numbers"], 9000000);
  const std::string hash = json["files"][0]["sha256"];
  const std::string sums = Write("SUMS", hash + "  model.safetensors\n");
  EXPECT_EQ(Verify({"--sums", sums}).code, ExitCode::kOk);
  EXPECT_EQ(Verify({"--sums", Write("SUMS", std::string(kNothing) + "  model.safetensors\n")}).code,
            ExitCode::kFailed);
  const Outcome missing = Verify({"--sums", Write("SUMS", hash + "  other.safetensors\n")});
  EXPECT_EQ(missing.code, ExitCode::kFailed);
  EXPECT_EQ(Parsed(missing.out)["missing_files"][0], "other.safetensors");
}

TEST_F(ModelVerify, ANumberThatIsNone) {
  Spoil(std::string("\xc0\x7f", 2));  // a quiet NaN of bf16, the upper half of one of fp32
  const Outcome outcome = Verify();
  EXPECT_EQ(outcome.code, ExitCode::kFailed);
  const Json json = Parsed(outcome.out);
  ASSERT_EQ(json["not_finite"].size(), 1u) << outcome.out;
  EXPECT_EQ(json["not_finite"][0]["numbers"], 1);
  EXPECT_THAT(RunHeadlong({"model", "verify", "--model", folder_.string()}).out,
              HasSubstr("NOT WELL"));
}

TEST_F(ModelVerify, AFileThatIsCutOff) {
  std::filesystem::resize_file(folder_ / "model.safetensors", 100000);
  const Outcome outcome = Verify();
  EXPECT_EQ(outcome.code, ExitCode::kFailed);
  EXPECT_THAT(outcome.err, HasSubstr("model.safetensors"));
}

TEST_F(ModelVerify, AnotherShapeThanTheConfigSays) {
  std::string config = Read("config.json");
  const size_t at = config.find("\"num_hidden_layers\": 8");
  ASSERT_NE(at, std::string::npos);
  config.replace(at, 22, "\"num_hidden_layers\": 7");
  Write("config.json", config);
  const Outcome outcome = Verify();
  EXPECT_EQ(outcome.code, ExitCode::kFailed);
  EXPECT_NE(Parsed(outcome.out)["shape_error"], "");
}

}  // namespace
}  // namespace headlong
