// A worker's share of a model's weights on its backend. Kept across epochs: what a new share has in
// common with the old one is not loaded again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "worker/backend.h"
#include "worker/share.h"

namespace headlong {

struct LayerWeights {
  std::unique_ptr<DeviceVector> attention_norm;  // [hidden]
  std::unique_ptr<DeviceMatrix> qkv;             // [(q + k + v of held heads) * head_dim][hidden]
  std::unique_ptr<DeviceVector> qkv_bias;        // [(q + k + v of held heads) * head_dim] or null
  std::unique_ptr<DeviceVector> q_norm;          // [head_dim] or null, as k_norm
  std::unique_ptr<DeviceVector> k_norm;
  std::unique_ptr<DeviceMatrix> out;       // [hidden][q of held heads * head_dim]
  std::unique_ptr<DeviceVector> mlp_norm;  // [hidden]
  std::unique_ptr<DeviceMatrix> up;        // [held columns][hidden]; where the MLP is gated [2 *
                                           // held columns], gate first
  std::unique_ptr<DeviceMatrix> down;      // [hidden][held columns]
};

class Weights {
 public:
  // Called with bytes done and bytes to load in all, from the calling thread.
  using Progress = std::function<void(int64_t done, int64_t total)>;

  // Makes this the weights of `share`. RESOURCE_EXHAUSTED names the tensor that found no memory.
  absl::Status Load(const Checkpoint& checkpoint, const ModelConfig& config, const Share& share,
                    Backend& backend, const Progress& progress);

  LayerWeights& layer(int index) { return layers_[index]; }
  const DeviceMatrix& embedding() const { return *embedding_; }  // [held rows][hidden]
  const DeviceVector& final_norm() const { return *final_norm_; }
  DeviceMatrix& output() { return *output_; }  // [held rows][hidden]
  int64_t bytes() const;

 private:
  absl::Status Forget(absl::Status status);

  Share share_;  // of what is loaded
  std::vector<LayerWeights> layers_;
  std::unique_ptr<DeviceMatrix> embedding_;
  std::unique_ptr<DeviceVector> final_norm_;
  std::unique_ptr<DeviceMatrix> output_;
};

}  // namespace headlong
