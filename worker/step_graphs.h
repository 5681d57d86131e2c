// Graphs of whole steps on a GPU: the calls of a batch are recorded the second time a batch of its
// kind comes (the first time libraries plan and connect, which no graph can hold) and replayed from
// then on with one launch. One owner, the step thread, whose stream is recorded.
//
// Everything that a graph's launches take as arguments stays where it is for as long as the graph
// is kept: caches, activations, weights, lists by address.
#pragma once

#include <cuda_runtime_api.h>

#include <map>
#include <set>

#include "worker/attention_cuda.h"

namespace headlong {

// How many rows the graph for `rows` decode rows has: few sizes serve all, and no more than a third
// of the rows are added. 0 where that would be more than `most`. Pure.
int GraphRows(int rows, int most);

class StepGraphs {
 public:
  explicit StepGraphs(cudaStream_t stream) : stream_(stream) {}
  ~StepGraphs() { Drop(); }
  StepGraphs(const StepGraphs&) = delete;

  // True: the graph of such a batch is running. False: the calls are to be made, then End.
  bool Begin(const AttentionCuda::Launches& kind);
  // All calls are made: what was recorded runs now.
  void End();
  // Forgets all graphs, and what is being recorded. They may run.
  void Drop();

 private:
  const cudaStream_t stream_;
  std::set<AttentionCuda::Launches> seen_;
  std::map<AttentionCuda::Launches, cudaGraphExec_t> graphs_;
  AttentionCuda::Launches kind_;
  bool recording_ = false;
};

}  // namespace headlong
