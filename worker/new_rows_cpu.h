// Keys and values of a step's new tokens on a CPU, rounded to the format of each head's lane before
// any use; of an exact prefill, those of the whole prompt for one layer. Memory is taken once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/lane_cpu.h"
#include "cache/row_format.h"
#include "worker/batch.h"

namespace headlong {

class NewRowsCpu {
 public:
  struct Shape {
    int heads = 0;              // of the layer that holds most
    int max_rows = 0;           // of a step
    int64_t exact_context = 0;  // most tokens of a prompt that is prefilled exactly; 0: none is
  };

  // Room for rows of any of `formats`. RESOURCE_EXHAUSTED with the bytes when it is not to be had.
  static absl::StatusOr<NewRowsCpu> Create(const Shape& shape, std::span<const LaneFormat> formats);

  // Rounds the batch's rows of held head `head`, each `stride` floats after the one before.
  void Round(int head, const LaneFormat& format, const float* keys, const float* values,
             int64_t stride, const Batch& batch);

  // The rows of one chunk. REQUIRES: rounded.
  NewRows OfChunk(int head, const LaneFormat& format, const Chunk& chunk);

  // Adds the chunk's rows to those of its prompt and returns all of them, from position 0 on.
  NewRows AddToPrompt(int head, const LaneFormat& format, const Chunk& chunk);

 private:
  NewRows Rows(std::byte* memory, const LaneFormat& format, int64_t count) const;

  Shape shape_;
  int64_t token_bytes_ = 0;  // of a token's rows, plain ones included, in the largest format
  std::unique_ptr<std::byte[]> step_;   // [held head][K|V|plain K|plain V][max_rows]
  std::unique_ptr<std::byte[]> exact_;  // [held head][K|V|plain K|plain V][exact_context]
};

}  // namespace headlong
