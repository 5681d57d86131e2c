#include "model/rope.h"

#include <cmath>
#include <numbers>
#include <optional>

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
  return absl::UnimplementedError(absl::StrCat(source, ": rope_type: ", JsonExcerpt(type),
                                               " is not supported (default, linear, llama3 are)"));
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

absl::StatusOr<RopeConfig> ParseBlock(const Json& block, std::optional<double> top_theta,
                                      const std::string& source) {
  if (!block.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": must be an object or null, is ", JsonExcerpt(block)));
  }
  for (const auto& [key, value] : block.items()) {
    if (!value.is_object()) continue;
    return absl::UnimplementedError(absl::StrCat(
        source, ": ", JsonExcerpt(key), ": a rotary embedding per layer type is not supported"));
  }
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

}  // namespace

absl::StatusOr<RopeConfig> ParseRope(const Json& config, const std::string& source) {
  std::optional<double> top_theta;
  if (Given(config, "rope_theta")) {
    ASSIGN_OR_RETURN(top_theta, NumberIn(config, "rope_theta", 1, kMaxTheta, source));
  }
  std::optional<RopeConfig> rope;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!Given(config, key)) continue;
    ASSIGN_OR_RETURN(const RopeConfig block,
                     ParseBlock(config.at(key), top_theta, absl::StrCat(source, ": ", key)));
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

std::vector<float> RopeInverseFrequencies(const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  std::vector<float> frequencies(static_cast<size_t>(config.head_dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double frequency = std::pow(rope.theta, -2.0 * static_cast<double>(i) / config.head_dim);
    if (rope.type == RopeType::kLinear) frequency /= rope.factor;
    if (rope.type == RopeType::kLlama3) frequency = Llama3Frequency(frequency, rope);
    frequencies[i] = static_cast<float>(frequency);
  }
  return frequencies;
}

}  // namespace headlong
