#include "tests/worker/reference_forward.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <random>

#include "absl/strings/str_format.h"
#include "common/status.h"
#include "model/family_tensors.h"

namespace headlong {
namespace {

using Vector = std::vector<double>;

void AppendValue(float value, const std::string& dtype, std::string& bytes) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  if (dtype == "F32") {
    bytes.append(reinterpret_cast<const char*>(&bits), 4);
    return;
  }
  uint16_t half = static_cast<uint16_t>(bits >> 16);  // bf16, cut off: random bits all the same
  if (dtype == "F16") {
    const int exponent = static_cast<int>(bits >> 23 & 0xFF) - 127 + 15;
    half =
        exponent <= 0
            ? 0
            : static_cast<uint16_t>((bits >> 16 & 0x8000) | exponent << 10 | (bits >> 13 & 0x3FF));
  }
  bytes.append(reinterpret_cast<const char*>(&half), 2);
}

// Norm weights near 1; a matrix so that what goes in and what comes out are of one size.
std::string RandomBytes(const FamilyTensor& tensor, const std::string& dtype, std::mt19937& rng) {
  int64_t elements = 1;
  for (const int64_t dim : tensor.shape) elements *= dim;
  const bool norm = tensor.name.find("norm") != std::string::npos;
  const double deviation =
      tensor.shape.size() == 2 ? 1.5 / std::sqrt(static_cast<double>(tensor.shape[1])) : 0.2;
  std::normal_distribution<float> normal(norm ? 1.0f : 0.0f, static_cast<float>(deviation));
  std::string bytes;
  for (int64_t i = 0; i < elements; ++i) AppendValue(normal(rng), dtype, bytes);
  return bytes;
}

absl::Status WriteFile(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return out.good() ? absl::OkStatus() : absl::UnavailableError(path.string());
}

// y = W x + b
Vector Product(const Vector& w, const Vector& x, const Vector& bias) {
  Vector y(w.size() / x.size());
  for (size_t o = 0; o < y.size(); ++o) {
    y[o] = bias.empty() ? 0 : bias[o];
    for (size_t i = 0; i < x.size(); ++i) y[o] += w[o * x.size() + i] * x[i];
  }
  return y;
}

void Norm(double* x, size_t n, const Vector& weight, double eps) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += x[i] * x[i];
  const double scale = 1 / std::sqrt(sum / static_cast<double>(n) + eps);
  for (size_t i = 0; i < n; ++i) x[i] *= scale * weight[i];
}

class Pass {
 public:
  Pass(const Checkpoint& checkpoint, const ModelConfig& config)
      : checkpoint_(checkpoint), config_(config), keys_(config.layers), values_(config.layers) {}

  Vector Feed(uint32_t token) {
    const size_t hidden = config_.hidden_size;
    const Vector table = Tensor("model.embed_tokens.weight");
    Vector x(table.begin() + token * hidden, table.begin() + (token + 1) * hidden);
    for (int layer = 0; layer < config_.layers; ++layer) {
      const std::string prefix = absl::StrCat("model.layers.", layer, ".");
      Vector h = x;
      Norm(h.data(), hidden, Tensor(prefix + "input_layernorm.weight"), config_.norm_eps);
      AddTo(x, Product(Tensor(prefix + "self_attn.o_proj.weight"), Attend(layer, h), {}));
      h = x;
      Norm(h.data(), hidden, Tensor(prefix + "post_attention_layernorm.weight"), config_.norm_eps);
      Vector gate = Product(Tensor(prefix + "mlp.gate_proj.weight"), h, {});
      const Vector up = Product(Tensor(prefix + "mlp.up_proj.weight"), h, {});
      for (size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] / (1 + std::exp(-gate[i]));
      AddTo(x, Product(Tensor(prefix + "mlp.down_proj.weight"), gate, {}));
    }
    ++position_;
    Norm(x.data(), hidden, Tensor("model.norm.weight"), config_.norm_eps);
    return Product(config_.tied_embeddings ? table : Tensor("lm_head.weight"), x, {});
  }

 private:
  Vector Tensor(const std::string& name) const {
    const TensorView& view = checkpoint_.tensor(name);
    std::vector<float> values(view.elements());
    ToFloat32(view, 0, view.elements(), values.data());
    return Vector(values.begin(), values.end());
  }

  static void AddTo(Vector& x, const Vector& y) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  // The heads of one projection, normed and rotated where that is done.
  Vector Heads(const std::string& prefix, const std::string& which, const Vector& h) const {
    const size_t d = config_.head_dim;
    const Vector bias = config_.qkv_bias ? Tensor(prefix + which + "_proj.bias") : Vector();
    Vector out = Product(Tensor(prefix + which + "_proj.weight"), h, bias);
    if (which == "v") return out;
    for (double* head = out.data(); head != out.data() + out.size(); head += d) {
      if (config_.qk_norm) {
        Norm(head, d, Tensor(prefix + which + "_norm.weight"), config_.norm_eps);
      }
      for (size_t i = 0; i < d / 2; ++i) {
        const double angle = position_ * std::pow(config_.rope.theta, -2.0 * i / d);
        const double a = head[i], b = head[i + d / 2];
        head[i] = a * std::cos(angle) - b * std::sin(angle);
        head[i + d / 2] = b * std::cos(angle) + a * std::sin(angle);
      }
    }
    return out;
  }

  Vector Attend(int layer, const Vector& h) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".self_attn.");
    const int d = config_.head_dim;
    const Vector q = Heads(prefix, "q", h);
    keys_[layer].push_back(Heads(prefix, "k", h));
    values_[layer].push_back(Heads(prefix, "v", h));
    const int window = static_cast<int>(config_.window(layer));
    const int first = window > 0 ? std::max(0, position_ + 1 - window) : 0;
    Vector out(q.size());
    for (int head = 0; head < config_.q_heads; ++head) {
      const int at = head / config_.group() * d;
      double sum = 0;
      for (int p = first; p <= position_; ++p) {
        double dot = 0;
        for (int i = 0; i < d; ++i) dot += q[head * d + i] * keys_[layer][p][at + i];
        const double weight = std::exp(dot / std::sqrt(d));
        sum += weight;
        for (int i = 0; i < d; ++i) out[head * d + i] += weight * values_[layer][p][at + i];
      }
      for (int i = 0; i < d; ++i) out[head * d + i] /= sum;
    }
    return out;
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  std::vector<std::vector<Vector>> keys_;  // [layer][position][KV heads * head_dim]
  std::vector<std::vector<Vector>> values_;
  int position_ = 0;
};

}  // namespace

absl::Status WriteRandomModel(const std::filesystem::path& folder, const RandomFolder& spec) {
  RETURN_IF_ERROR(WriteFile(folder / "config.json", spec.config.dump()));
  ASSIGN_OR_RETURN(const ModelConfig config, ParseModelConfig(spec.config.dump(), "config.json"));
  std::mt19937 rng(spec.seed);
  std::vector<Json> headers(spec.shards, Json::object());
  std::vector<std::string> data(spec.shards);
  Json index = {{"weight_map", Json::object()}};
  int next = 0;
  const auto file = [&](int shard) {
    if (spec.shards == 1) return std::string("model.safetensors");
    return absl::StrFormat("model-%05d-of-%05d.safetensors", shard + 1, spec.shards);
  };
  for (const FamilyTensor& tensor : FamilyTensors(config)) {
    const int shard = next++ % spec.shards;
    const size_t begin = data[shard].size();
    data[shard] += RandomBytes(tensor, spec.dtype, rng);
    headers[shard][tensor.name] = {{"dtype", spec.dtype},
                                   {"shape", tensor.shape},
                                   {"data_offsets", {begin, data[shard].size()}}};
    index["weight_map"][tensor.name] = file(shard);
  }
  for (int shard = 0; shard < spec.shards; ++shard) {
    const std::string header = headers[shard].dump();
    std::string bytes;
    for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(header.size() >> (8 * i)));
    RETURN_IF_ERROR(WriteFile(folder / file(shard), bytes + header + data[shard]));
  }
  if (spec.shards == 1) return absl::OkStatus();
  return WriteFile(folder / "model.safetensors.index.json", index.dump());
}

std::vector<double> ReferenceLogits(const Checkpoint& checkpoint, const ModelConfig& config,
                                    const std::vector<uint32_t>& tokens) {
  Pass pass(checkpoint, config);
  std::vector<double> logits;
  for (const uint32_t token : tokens) logits = pass.Feed(token);
  return logits;
}

}  // namespace headlong
