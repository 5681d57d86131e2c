// y = x W^T in bf16 with the weights as oneDNN wants them. It compiles such products for a fixed
// row count: a product is cut into pieces of a few fixed sizes. Few rows are cut along the outputs
// besides, one slice for a thread at a time (thread_team.h).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "worker/kernels/matmul_pieces.h"
#include "worker/kernels/onednn.h"

namespace headlong::cpu {

class BlockedMatMul {
 public:
  // `source`: [outputs][inputs] of `type`, f32 or bf16; not needed afterwards. Throws what oneDNN
  // throws. One caller at a time.
  BlockedMatMul(const void* source, dnnl::memory::data_type type, int outputs, int inputs);

  int64_t bytes() const { return static_cast<int64_t>(weights_.get_desc().get_size()); }
  // x: [rows][inputs], y: [rows][outputs], both contiguous fp32.
  void Run(const float* x, int rows, float* y);

 private:
  using Products = std::array<std::optional<FixedMatMul>, kPieceRows.size()>;  // made on first use

  // Outputs [begin, begin + count), whose weights lie together.
  struct Slice {
    int begin = 0;
    int count = 0;
    dnnl::memory weights;
    Products products;
  };

  void AddSlices();
  void RunPiece(const float* x, const MatMulPiece& piece, float* y);
  bool PrepareSlices(size_t size);
  void RunSlice(Slice& slice, const MatMulPiece& piece, uint16_t* x, float* y);

  const int outputs_;
  const int inputs_;
  dnnl::memory weights_;
  dnnl::stream stream_{CpuEngine()};
  Products products_;          // of all outputs
  std::vector<Slice> slices_;  // none where the layout has no such cuts
};

}  // namespace headlong::cpu
