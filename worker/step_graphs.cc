#include "worker/step_graphs.h"

#include "worker/kernels/device_array.h"

namespace headlong {
namespace {

using cuda::CheckCuda;

constexpr size_t kMostGraphs = 64;  // some hundred kernels each

}  // namespace

int GraphRows(int rows, int most) {
  int size = rows;
  if (rows > 8) {
    size = 8;  // then 12, 16, 24, 32, 48, ...
    while (size < rows) size = size % 3 == 0 ? size / 3 * 4 : size / 2 * 3;
  }
  return size <= most ? size : 0;
}

bool StepGraphs::Begin(const AttentionCuda::Launches& kind) {
  if (const auto graph = graphs_.find(kind); graph != graphs_.end()) {
    CheckCuda(cudaGraphLaunch(graph->second, stream_), "replaying a step");
    return true;
  }
  if (seen_.insert(kind).second) return false;
  if (graphs_.size() >= kMostGraphs) {  // those still in use come back soon
    CheckCuda(cudaStreamSynchronize(stream_), "waiting for a step");
    Drop();
    seen_.insert(kind);
  }
  CheckCuda(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "recording a step");
  kind_ = kind;
  recording_ = true;
  return false;
}

void StepGraphs::End() {
  if (!recording_) return;
  recording_ = false;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  CheckCuda(cudaStreamEndCapture(stream_, &graph), "recording a step");
  CheckCuda(cudaGraphInstantiate(&executable, graph, 0), "making a graph of a step");
  CheckCuda(cudaGraphDestroy(graph), "making a graph of a step");
  graphs_.emplace(kind_, executable);
  CheckCuda(cudaGraphLaunch(executable, stream_), "replaying a step");
}

void StepGraphs::Drop() {
  if (recording_) {
    cudaGraph_t graph = nullptr;
    cudaStreamEndCapture(stream_, &graph);  // fails where a call that was recorded failed
    if (graph != nullptr) cudaGraphDestroy(graph);
    recording_ = false;
  }
  for (const auto& [kind, graph] : graphs_) cudaGraphExecDestroy(graph);
  graphs_.clear();
  seen_.clear();
}

}  // namespace headlong
