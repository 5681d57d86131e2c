#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numbers>
#include <optional>
#include <string_view>

#include "common/status.h"

namespace headlong {
namespace {

constexpr double kDefaultTheta = 10000.0;  // of every family in transformers that we run
constexpr double kMaxTheta = 1e12;
constexpr double kMaxFactor = 1e6;
constexpr int64_t kMaxPositions = int64_t{1} << 30;

bool Given(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && !it->is_null();
}

// A number in [lo, hi]; NaN is in no range.
absl::StatusOr<double> NumberIn(const Json& object, const char* key, double lo, double hi,
                                const std::string& source) {
  ASSIGN_OR_RETURN(const double value, JsonNumber(object, key, source));
  if (value >= lo && value <= hi) return value;
  return absl::InvalidArgumentError(absl::StrCat(source, ": ", key, ": must be a number in [", lo,
                                                 ", ", hi, "], is ", JsonExcerpt(object.at(key))));
}

// "type" is the older name of "rope_type". A block without either is transformers 5's way to give
// theta alone; with a factor it is a scaling whose kind nobody can know.
absl::StatusOr<RopeType> ParseType(const Json& block, const std::string& source) {
  std::string type = "default";
  if (Given(block, "rope_type")) {
    ASSIGN_OR_RETURN(type, JsonString(block, "rope_type", source));
  } else if (Given(block, "type")) {
    ASSIGN_OR_RETURN(type, JsonString(block, "type", source));
  } else if (Given(block, "factor")) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": rope_type: is missing"));
  }
  if (Given(block, "rope_type") && Given(block, "type") && block.at("type") != type) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": rope_type: is ", JsonExcerpt(type),
                                                   ", but type is ",
                                                   JsonExcerpt(block.at("type"))));
  }
  if (type == "default") return RopeType::kDefault;
  if (type == "linear") return RopeType::kLinear;
  if (type == "llama3") return RopeType::kLlama3;
  if (type == "yarn") return RopeType::kYarn;
  if (type == "dynamic") {
    return absl::UnimplementedError(absl::StrCat(
        source,
        ": rope_type: \"dynamic\" is not supported: its base moves with the length, so "
        "keys that are kept would have to be rotated anew"));
  }
  return absl::UnimplementedError(
      absl::StrCat(source, ": rope_type: ", JsonExcerpt(type),
                   " is not supported (default, linear, llama3, yarn are)"));
}

absl::Status ParseLlama3Bands(const Json& block, const std::string& source, RopeConfig& rope) {
  ASSIGN_OR_RETURN(rope.low_freq_factor, NumberIn(block, "low_freq_factor", 1e-3, 1e6, source));
  ASSIGN_OR_RETURN(rope.high_freq_factor, NumberIn(block, "high_freq_factor", 1e-3, 1e6, source));
  if (rope.high_freq_factor <= rope.low_freq_factor) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": high_freq_factor: must be greater than low_freq_factor ",
                     rope.low_freq_factor, ", is ", rope.high_freq_factor));
  }
  ASSIGN_OR_RETURN(rope.original_max_position_embeddings,
                   JsonInt(block, "original_max_position_embeddings", 1, kMaxPositions, source));
  return absl::OkStatus();
}

// A field that is absent or null has the value of `fallback`.
absl::StatusOr<double> NumberOr(const Json& object, const char* key, double fallback,
                                const std::string& source) {
  if (!Given(object, key)) return fallback;
  return NumberIn(object, key, 1e-3, kMaxFactor, source);
}

// YaRN section 3.3: the temperature of attention, 0.1 ln(factor) + 1, here on cosines and sines.
// DeepSeek's `mscale` and `mscale_all_dim` stand for a quotient of two of them.
absl::StatusOr<double> YarnAttentionFactor(const Json& block, double factor,
                                           const std::string& source) {
  const auto scale = [&](double mscale) { return 0.1 * mscale * std::log(factor) + 1; };
  double attention_factor = scale(1);
  if (Given(block, "mscale") && Given(block, "mscale_all_dim")) {
    ASSIGN_OR_RETURN(const double mscale, NumberIn(block, "mscale", 0, kMaxFactor, source));
    ASSIGN_OR_RETURN(const double all, NumberIn(block, "mscale_all_dim", 0, kMaxFactor, source));
    if (mscale > 0 && all > 0) attention_factor = scale(mscale) / scale(all);
  }
  return NumberOr(block, "attention_factor", attention_factor, source);
}

absl::Status ParseYarn(const Json& block, const Json& config, const std::string& source,
                       RopeConfig& rope) {
  ASSIGN_OR_RETURN(rope.beta_fast, NumberOr(block, "beta_fast", rope.beta_fast, source));
  ASSIGN_OR_RETURN(rope.beta_slow, NumberOr(block, "beta_slow", rope.beta_slow, source));
  if (rope.beta_fast <= rope.beta_slow) {
    return absl::InvalidArgumentError(absl::StrCat(source,
                                                   ": beta_fast: must be greater than beta_slow ",
                                                   rope.beta_slow, ", is ", rope.beta_fast));
  }
  if (rope.theta <= 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": rope_theta: must be greater than 1 for yarn, is ", rope.theta));
  }
  if (Given(block, "truncate")) {
    ASSIGN_OR_RETURN(rope.truncate, JsonBool(block, "truncate", source));
  }
  ASSIGN_OR_RETURN(rope.attention_factor, YarnAttentionFactor(block, rope.factor, source));
  const Json& where = Given(block, "original_max_position_embeddings") ? block : config;
  const char* key = Given(where, "original_max_position_embeddings")
                        ? "original_max_position_embeddings"
                        : "max_position_embeddings";
  ASSIGN_OR_RETURN(rope.original_max_position_embeddings,
                   JsonInt(where, key, 1, kMaxPositions, source));
  return absl::OkStatus();
}

// A field that nobody knows here may well change the angles.
absl::Status CheckFields(const Json& block, const std::string& source) {
  constexpr std::string_view kKnown[] = {
      "rope_type",       "type",      "rope_theta",
      "factor",          "beta_fast", "original_max_position_embeddings",
      "low_freq_factor", "beta_slow", "partial_rotary_factor",
      "mscale",          "truncate",  "high_freq_factor",
      "mscale_all_dim",  "finetuned", "attention_factor",
  };
  for (const auto& [key, value] : block.items()) {
    if (value.is_object()) {
      return absl::UnimplementedError(absl::StrCat(
          source, ": ", JsonExcerpt(key), ": a rotary embedding per layer type is not supported"));
    }
    if (value.is_null() || std::count(std::begin(kKnown), std::end(kKnown), key) > 0) continue;
    return absl::UnimplementedError(
        absl::StrCat(source, ": ", JsonExcerpt(key), " is not a field that is understood"));
  }
  return absl::OkStatus();
}

absl::StatusOr<RopeConfig> ParseBlock(const Json& block, const Json& config,
                                      std::optional<double> top_theta, const std::string& source) {
  if (!block.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": must be an object or null, is ", JsonExcerpt(block)));
  }
  RETURN_IF_ERROR(CheckFields(block, source));
  RopeConfig rope;
  rope.theta = top_theta.value_or(kDefaultTheta);
  if (Given(block, "rope_theta")) {
    ASSIGN_OR_RETURN(rope.theta, NumberIn(block, "rope_theta", 1, kMaxTheta, source));
    if (top_theta && *top_theta != rope.theta) {
      return absl::InvalidArgumentError(absl::StrCat(source, ": rope_theta: is ", rope.theta,
                                                     ", but the model's is ", *top_theta));
    }
  }
  if (Given(block, "partial_rotary_factor") && block.at("partial_rotary_factor") != 1) {
    return absl::UnimplementedError(absl::StrCat(
        source, ": partial_rotary_factor: ", JsonExcerpt(block.at("partial_rotary_factor")),
        " is not supported"));
  }
  ASSIGN_OR_RETURN(rope.type, ParseType(block, source));
  if (rope.type == RopeType::kDefault) return rope;
  ASSIGN_OR_RETURN(rope.factor, NumberIn(block, "factor", 1, kMaxFactor, source));
  if (rope.type == RopeType::kLlama3) RETURN_IF_ERROR(ParseLlama3Bands(block, source, rope));
  if (rope.type == RopeType::kYarn) {
    RETURN_IF_ERROR(ParseYarn(block, config, source, rope));
  } else if (Given(block, "attention_factor")) {
    return absl::UnimplementedError(
        absl::StrCat(source, ": attention_factor: is not supported without yarn"));
  }
  return rope;
}

// The three bands of Llama 3.1 by wavelength: short ones stay, long ones are stretched by `factor`,
// those between are blended (transformers, _compute_llama3_parameters).
double Llama3Frequency(double frequency, const RopeConfig& rope) {
  const auto original = static_cast<double>(rope.original_max_position_embeddings);
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength < original / rope.high_freq_factor) return frequency;
  if (wavelength > original / rope.low_freq_factor) return frequency / rope.factor;
  const double smooth = (original / wavelength - rope.low_freq_factor) /
                        (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

// YaRN's ramp over pairs of elements: 0 where the frequency stays, 1 where it is divided by the
// factor (transformers, _compute_yarn_parameters).
struct YarnRamp {
  double low = 0;
  double high = 0;
  double At(double pair) const { return std::clamp((pair - low) / (high - low), 0.0, 1.0); }
};

YarnRamp RampOf(const RopeConfig& rope, int head_dim) {
  // The pair that turns `turns` times within the original context.
  const auto pair = [&](double turns) {
    const auto original = static_cast<double>(rope.original_max_position_embeddings);
    return head_dim * std::log(original / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  YarnRamp ramp{pair(rope.beta_fast), pair(rope.beta_slow)};
  if (rope.truncate) ramp = {std::floor(ramp.low), std::ceil(ramp.high)};
  ramp.low = std::max(ramp.low, 0.0);
  ramp.high = std::min(ramp.high, head_dim - 1.0);
  if (ramp.low == ramp.high) ramp.high += 0.001;  // a step
  return ramp;
}

}  // namespace

absl::StatusOr<RopeConfig> ParseRope(const Json& config, const std::string& source) {
  std::optional<double> top_theta;
  if (Given(config, "rope_theta")) {
    ASSIGN_OR_RETURN(top_theta, NumberIn(config, "rope_theta", 1, kMaxTheta, source));
  }
  std::optional<RopeConfig> rope;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!Given(config, key)) continue;
    ASSIGN_OR_RETURN(const RopeConfig block, ParseBlock(config.at(key), config, top_theta,
                                                        absl::StrCat(source, ": ", key)));
    if (rope && *rope != block) {
      return absl::InvalidArgumentError(
          absl::StrCat(source, ": rope_scaling: says another thing than rope_parameters"));
    }
    rope = block;
  }
  if (rope) return *rope;
  RopeConfig plain;
  plain.theta = top_theta.value_or(kDefaultTheta);
  return plain;
}

std::vector<float> RopeInverseFrequencies(const RopeConfig& rope, int head_dim) {
  std::vector<float> frequencies(static_cast<size_t>(head_dim / 2));
  const YarnRamp ramp = rope.type == RopeType::kYarn ? RampOf(rope, head_dim) : YarnRamp{};
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double frequency = std::pow(rope.theta, -2.0 * static_cast<double>(i) / head_dim);
    if (rope.type == RopeType::kLinear) frequency /= rope.factor;
    if (rope.type == RopeType::kLlama3) frequency = Llama3Frequency(frequency, rope);
    if (rope.type == RopeType::kYarn) {
      const double slowed = ramp.At(static_cast<double>(i));
      frequency = frequency * (1 - slowed) + frequency / rope.factor * slowed;
    }
    frequencies[i] = static_cast<float>(frequency);
  }
  return frequencies;
}

int64_t ScaledContext(const RopeConfig& rope, int64_t max_position_embeddings) {
  const auto times = [&](int64_t trained) {
    return static_cast<int64_t>(static_cast<double>(trained) * rope.factor);
  };
  if (rope.type == RopeType::kLinear) return times(max_position_embeddings);
  if (rope.type == RopeType::kYarn) {
    return std::max(max_position_embeddings, times(rope.original_max_position_embeddings));
  }
  return max_position_embeddings;  // llama3 states the larger number
}

std::string DescribeRope(const RopeConfig& rope) {
  const std::string base = absl::StrCat("base ", rope.theta);
  const std::string factor = absl::StrCat(base, ", factor ", rope.factor);
  const auto over = [&] {
    return absl::StrCat(factor, " over ", rope.original_max_position_embeddings, " positions");
  };
  switch (rope.type) {
    case RopeType::kDefault:
      return base;
    case RopeType::kLinear:
      return absl::StrCat("linear, ", factor);
    case RopeType::kLlama3:
      return absl::StrCat("llama3, ", over());
    case RopeType::kYarn:
      return absl::StrCat("yarn, ", over());
  }
  return base;
}

}  // namespace headlong
