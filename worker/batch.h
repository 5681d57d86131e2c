// A batch as the forward pass sees it: rows of new tokens, grouped by sequence. Plain values.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/kernels/token_draw.h"

namespace headlong {

// A row and a position before it of which is asked whether that row attends to it most.
struct CopiedPosition {
  int64_t row = 0;  // as a position of the sequence
  int64_t position = 0;
};

// New tokens of one sequence: rows [first_row, first_row + count) of the batch hold its positions
// [position, position + count).
struct Chunk {
  uint64_t sequence_id = 0;
  int first_row = 0;
  int count = 0;
  int64_t position = 0;
  bool sample = false;  // the logits after its last row are wanted
  bool exact = false;   // `prefill: exact` below N: every query sees everything before it
  std::vector<int32_t> probed = {};  // rows of the chunk whose logits are wanted too, ascending
  int64_t period = 0;                // not 0: attention on earlier copies is summed up,
  int64_t first_scored = 0;          // of positions from here on
  bool spectra = false;              // moments of queries, keys and values are summed up
  std::vector<CopiedPosition> copies = {};  // of its rows
  bool similarity = false;                  // of the residual stream around every attention

  int64_t end() const { return position + count; }
  bool scores_attention() const { return period > 0 || !copies.empty(); }
  bool measured() const { return scores_attention() || spectra || similarity || !probed.empty(); }
};

// What comes to the leader's host of the sampled rows.
enum class Wanted {
  kLogits,
  kTokens,  // one of each row, drawn on the leader's device
  kBest,    // the likeliest of each row: every worker sends the best one of its vocabulary rows
};

struct Batch {
  std::vector<uint32_t> tokens;    // [rows]
  std::vector<int32_t> positions;  // [rows]
  std::vector<Chunk> chunks;
  int layer_begin = 0;  // a unit of an exact prefill covers one layer; else all
  int layer_end = 0;
  Wanted wanted = Wanted::kLogits;
  std::vector<TokenDraw> draws;  // by sampled row where tokens are wanted, else none

  int rows() const { return static_cast<int>(tokens.size()); }

  // How many rows sampled_rows() has.
  int sampled() const {
    int count = 0;
    for (const Chunk& chunk : chunks) {
      count += static_cast<int>(chunk.probed.size()) + (chunk.sample ? 1 : 0);
    }
    return count;
  }

  // The rows after which logits are wanted, in the order of the chunks; of one, those that are
  // probed come first.
  std::vector<int32_t> sampled_rows() const {
    std::vector<int32_t> rows;
    for (const Chunk& chunk : chunks) {
      for (const int32_t row : chunk.probed) rows.push_back(chunk.first_row + row);
      if (chunk.sample) rows.push_back(chunk.first_row + chunk.count - 1);
    }
    return rows;
  }
};

// How the calls of a batch are to be made. What rows behind the batch's own hold is of no meaning.
struct BatchCalls {
  int rows = 0;           // of every call: at least the batch's
  int samples = 0;        // rows of GatherSampled, and of what follows it
  bool replayed = false;  // all of them are under way already, out of a graph: make none
};

// What a step sampled.
struct LastSamples {
  std::vector<uint64_t> ids;     // of the sequences, in order
  std::vector<uint32_t> tokens;  // which the leader alone knows until the next step asks for them
};

}  // namespace headlong
