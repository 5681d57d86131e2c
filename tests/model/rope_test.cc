#include "model/rope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace headlong {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<RopeConfig> Parse(const std::string& json) {
  return ParseRope(Json::parse(json), "config.json");
}
std::string ErrorOf(const std::string& json) { return std::string(Parse(json).status().message()); }

TEST(RopeInverseFrequencies, DefaultAndLinear) {
  for (const double theta : {10000.0, 500000.0, 1e6}) {
    const auto plain = RopeInverseFrequencies({.theta = theta}, 64);
    const auto linear =
        RopeInverseFrequencies({.type = RopeType::kLinear, .theta = theta, .factor = 4}, 64);
    ASSERT_EQ(plain.size(), 32u);
    ASSERT_EQ(linear.size(), 32u);
    double expected = 1;
    const double step = std::exp(-std::log(theta) / 32);
    for (size_t i = 0; i < 32; ++i, expected *= step) {
      EXPECT_NEAR(plain[i] / expected, 1, 1e-7) << i;
      EXPECT_NEAR(linear[i] * 4 / expected, 1, 1e-7) << i;
    }
  }
}

// The bands of Llama 3.1 stated by turns: a pair that turns more than `high` times within the
// original context stays, one that turns less than `low` times is slowed by the factor, and between
// the two the frequency is interpolated in the number of turns.
double Banded(double frequency, double factor, double low, double high, double original) {
  const double turns = original * frequency / (2 * 3.14159265358979323846);
  if (turns >= high) return frequency;
  if (turns <= low) return frequency / factor;
  const double share = (turns - low) / (high - low);
  return frequency * (share + (1 - share) / factor);
}

TEST(RopeInverseFrequencies, Llama3InAllThreeBands) {
  for (const auto& [head_dim, original] :
       {std::pair(128, 8192), std::pair(64, 8192), std::pair(16, 64)}) {
    for (const double factor : {8.0, 32.0}) {
      const auto actual = RopeInverseFrequencies({.type = RopeType::kLlama3,
                                                  .theta = 500000,
                                                  .factor = factor,
                                                  .low_freq_factor = 1,
                                                  .high_freq_factor = 4,
                                                  .original_max_position_embeddings = original},
                                                 head_dim);
      ASSERT_EQ(actual.size(), static_cast<size_t>(head_dim / 2));
      int kept = 0, slowed = 0, blended = 0;
      for (size_t i = 0; i < actual.size(); ++i) {
        const double plain =
            std::exp2(-2.0 * static_cast<double>(i) / head_dim * std::log2(500000.0));
        const double expected = Banded(plain, factor, 1, 4, original);
        EXPECT_NEAR(actual[i] / expected, 1, 1e-7) << i;
        (expected == plain ? kept : expected == plain / factor ? slowed : blended) += 1;
      }
      EXPECT_GT(kept, 0);
      EXPECT_GT(slowed, 0);
      EXPECT_TRUE(blended > 0 || head_dim < 64);
    }
  }
}

// YaRN stated by turns: a pair that turns more than 32 times within the original context stays, one
// that turns less than once is slowed by the factor, and the ramp between is linear in the pair.
TEST(RopeInverseFrequencies, Yarn) {
  const auto rope = Parse(R"({"rope_theta": 1e6, "rope_scaling": {"type": "yarn", "factor": 4.0,
      "original_max_position_embeddings": 32768}})");
  ASSERT_TRUE(rope.ok()) << rope.status();
  EXPECT_NEAR(rope->attention_factor, 0.1 * std::log(4.0) + 1, 1e-12);
  const auto actual = RopeInverseFrequencies(*rope, 128);
  double last = 1;
  for (int i = 0; i < 64; ++i) {
    const double plain = std::pow(1e6, -i / 64.0);
    const double share = actual[i] / plain;  // falls from 1 to 1/4
    const double turns = 32768 * plain / (2 * std::acos(-1.0));
    EXPECT_LE(share, last + 1e-6);
    last = share;
    if (turns > 40) {
      EXPECT_NEAR(share, 1, 1e-6) << i;
    } else if (turns < 0.8) {
      EXPECT_NEAR(share, 0.25, 1e-6) << i;
    }
  }
  EXPECT_NEAR(actual[32] / std::pow(1e6, -0.5), 1 - 0.75 * (32 - 23) / 17.0, 1e-6);
}

TEST(ParseRope, FieldsOfYarn) {
  const auto full = Parse(R"({"max_position_embeddings": 640, "rope_scaling": {"rope_type": "yarn",
      "factor": 2, "beta_fast": 16, "beta_slow": 2, "attention_factor": 1.5, "truncate": false}})");
  EXPECT_EQ(*full, (RopeConfig{.type = RopeType::kYarn,
                               .factor = 2,
                               .original_max_position_embeddings = 640,
                               .beta_fast = 16,
                               .beta_slow = 2,
                               .truncate = false,
                               .attention_factor = 1.5}));
  const auto quotient = Parse(R"({"rope_scaling": {"rope_type": "yarn", "factor": 40,
      "original_max_position_embeddings": 4096, "mscale": 0.707, "mscale_all_dim": 0.707}})");
  EXPECT_NEAR(quotient->attention_factor, 1, 1e-12);
  EXPECT_THAT(ErrorOf(R"({"rope_scaling": {"rope_type": "yarn", "factor": 2}})"),
              HasSubstr("max_position_embeddings: must be an integer"));
  EXPECT_THAT(ErrorOf(R"({"rope_scaling": {"rope_type": "yarn", "factor": 2, "beta_fast": 1,
      "original_max_position_embeddings": 64}})"),
              HasSubstr("beta_fast: must be greater than beta_slow 1, is 1"));
  EXPECT_THAT(ErrorOf(R"({"rope_scaling": {"rope_type": "linear", "factor": 2, "facter": 3}})"),
              HasSubstr("\"facter\" is not a field"));
  EXPECT_THAT(ErrorOf(R"({"rope_scaling": {"rope_type": "dynamic", "factor": 2}})"),
              HasSubstr("its base moves with the length"));
}

TEST(ParseRope, LayoutOfTransformers4) {
  EXPECT_EQ(*Parse("{}"), RopeConfig{});
  EXPECT_EQ(Parse(R"({"rope_theta": 5e5, "rope_scaling": null})")->theta, 5e5);
  EXPECT_EQ(*Parse(R"({"rope_theta": 10000, "rope_scaling": {"type": "linear", "factor": 2.5}})"),
            (RopeConfig{.type = RopeType::kLinear, .factor = 2.5}));
  EXPECT_EQ(*Parse(R"({"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
      "low_freq_factor": 1.0, "high_freq_factor": 4.0,
      "original_max_position_embeddings": 8192}})"),
            (RopeConfig{.type = RopeType::kLlama3,
                        .theta = 5e5,
                        .factor = 8,
                        .low_freq_factor = 1,
                        .high_freq_factor = 4,
                        .original_max_position_embeddings = 8192}));
}

TEST(ParseRope, LayoutOfTransformers5) {
  EXPECT_EQ(Parse(R"({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}})")->theta,
            1e6);
  EXPECT_EQ(Parse(R"({"rope_parameters": {"rope_theta": 7e5}})")->theta, 7e5);
  EXPECT_EQ(
      *Parse(R"({"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4}})"),
      (RopeConfig{.type = RopeType::kLinear, .factor = 4}));
  EXPECT_EQ(Parse(R"({"rope_theta": 7e5, "rope_parameters": {"rope_type": "default"}})")->theta,
            7e5);
}

TEST(ParseRope, BothLayoutsMustAgree) {
  EXPECT_TRUE(Parse(R"({"rope_scaling": {"type": "linear", "factor": 2},
                        "rope_parameters": {"rope_type": "linear", "factor": 2}})")
                  .ok());
  EXPECT_THAT(ErrorOf(R"({"rope_scaling": {"type": "linear", "factor": 2},
                          "rope_parameters": {"rope_type": "linear", "factor": 4}})"),
              HasSubstr("rope_scaling: says another thing than rope_parameters"));
  EXPECT_THAT(ErrorOf(R"({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e6}})"),
              HasSubstr("rope_parameters: rope_theta: is 1e+06, but the model's is 10000"));
}

TEST(ParseRope, RefusesByName) {
  for (const std::string type : {"dynamic", "longrope", "su", "mrope", "ntk"}) {
    const auto parsed = Parse(R"({"rope_scaling": {"rope_type": ")" + type + R"(", "factor": 2}})");
    EXPECT_TRUE(absl::IsUnimplemented(parsed.status())) << type;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("\"" + type + "\""));
  }
  EXPECT_THAT(ErrorOf(R"({"rope_parameters": {"full_attention": {"rope_type": "default"}}})"),
              HasSubstr("\"full_attention\": a rotary embedding per layer type"));
  EXPECT_THAT(ErrorOf(R"({"rope_parameters": {"partial_rotary_factor": 0.5}})"),
              HasSubstr("partial_rotary_factor"));
}

TEST(ParseRope, RefusesBadFields) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"rope_theta": 0})", "rope_theta: must be a number in [1"},
      {R"({"rope_theta": -5})", "rope_theta: must be"},
      {R"({"rope_theta": 1e300})", "rope_theta: must be"},
      {R"({"rope_theta": "10000"})", "rope_theta: must be a number"},
      {R"({"rope_scaling": []})", "rope_scaling: must be an object or null, is a list of 0"},
      {R"({"rope_scaling": {"factor": 2}})", "rope_scaling: rope_type: is missing"},
      {R"({"rope_scaling": {"rope_type": 3}})", "rope_type: must be a string, is 3"},
      {R"({"rope_scaling": {"rope_type": "linear", "type": "llama3"}})", "but type is \"llama3\""},
      {R"({"rope_scaling": {"type": "linear"}})", "factor: must be a number, is missing"},
      {R"({"rope_scaling": {"type": "linear", "factor": 0.5}})", "factor: must be a number in [1,"},
      {R"({"rope_scaling": {"type": "linear", "factor": 1e30}})", "factor: must be a number in"},
      {R"({"rope_scaling": {"type": "llama3", "factor": 8}})", "low_freq_factor: must be"},
      {R"({"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 4,
           "high_freq_factor": 4, "original_max_position_embeddings": 8192}})",
       "high_freq_factor: must be greater than low_freq_factor 4, is 4"},
      {R"({"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 1,
           "high_freq_factor": 4, "original_max_position_embeddings": 0}})",
       "original_max_position_embeddings: must be an integer in [1,"},
      {R"({"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 1,
           "high_freq_factor": 4}})",
       "original_max_position_embeddings: must be an integer"},
  };
  for (const auto& [json, words] : cases) EXPECT_THAT(ErrorOf(json), HasSubstr(words)) << json;
}

}  // namespace
}  // namespace headlong
