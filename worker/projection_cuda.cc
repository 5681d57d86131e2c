#include "worker/projection_cuda.h"

#include <algorithm>
#include <span>
#include <utility>

#include "common/status.h"

namespace headlong {
namespace {

using cuda::CheckCuda;

// All matrices after one another, and jobs that name them by where they begin.
struct Lists {
  std::vector<float> weights;
  std::vector<std::pair<cuda::ProjectJob, int64_t>> jobs;  // begin of its weights; -1: none

  void Add(const std::vector<float>& rows, cuda::ProjectJob job) {
    if (rows.empty() && !job.rotates) return;
    jobs.emplace_back(job, rows.empty() ? -1 : std::ssize(weights));
    weights.insert(weights.end(), rows.begin(), rows.end());
  }
};

// [rank][dims] as [dims][rank].
std::vector<float> Turned(const std::vector<float>& rows, int dims) {
  const int rank = static_cast<int>(rows.size()) / dims;
  std::vector<float> turned(rows.size());
  for (int r = 0; r < rank; ++r) {
    for (int i = 0; i < dims; ++i) turned[i * rank + r] = rows[r * dims + i];
  }
  return turned;
}

// Of `count` vectors, one after another from the first-th of a row on.
cuda::ProjectJob JobOf(const std::vector<float>& rows, int head_dim, int first, int count) {
  cuda::ProjectJob job;
  job.inputs = head_dim;
  job.outputs = static_cast<int32_t>(rows.size()) / head_dim;
  job.first = first * head_dim;
  job.count = count;
  return job;
}

}  // namespace

absl::StatusOr<ProjectionCuda> ProjectionCuda::Create(const AttentionShape& shape) {
  ProjectionCuda result;
  result.head_dim_ = shape.head_dim;
  result.group_ = shape.group;
  if (shape.projections.empty()) return result;
  const int d = shape.head_dim, group = shape.group;
  Lists lists;
  for (const std::vector<HeadProjections>& heads : shape.projections) {
    Layer& layer = result.layers_.emplace_back();
    layer.heads = static_cast<int>(heads.size());
    layer.any = std::any_of(heads.begin(), heads.end(), [](const HeadProjections& head) {
      return !head.keys.empty() || !head.values.empty();
    });
    layer.first_project = layer.first_restore = static_cast<int32_t>(lists.jobs.size());
    if (!layer.any) continue;
    for (int h = 0; h < layer.heads; ++h) {
      cuda::ProjectJob q = JobOf(heads[h].keys, d, h * group, group);
      cuda::ProjectJob k = JobOf(heads[h].keys, d, layer.heads * group + h, 1);
      q.rotates = k.rotates = true;
      lists.Add(heads[h].keys, q);
      lists.Add(heads[h].keys, k);
      lists.Add(heads[h].values, JobOf(heads[h].values, d, layer.heads * (group + 1) + h, 1));
    }
    layer.first_restore = static_cast<int32_t>(lists.jobs.size());
    layer.projects = layer.first_restore - layer.first_project;
    for (int h = 0; h < layer.heads; ++h) {
      cuda::ProjectJob job = JobOf(heads[h].values, d, h * group, group);
      std::swap(job.inputs, job.outputs);
      lists.Add(Turned(heads[h].values, d), job);
    }
    layer.restores = static_cast<int32_t>(lists.jobs.size()) - layer.first_restore;
  }
  if (!cuda::DeviceArray<float>::Take(std::ssize(lists.weights), result.weights_) ||
      !cuda::DeviceArray<cuda::ProjectJob>::Take(std::ssize(lists.jobs), result.jobs_)) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "no device memory for ", lists.weights.size() * sizeof(float), " bytes of projections"));
  }
  std::vector<cuda::ProjectJob> jobs;
  for (auto& [job, begin] : lists.jobs) {
    if (begin >= 0) job.weights = result.weights_.get() + begin;
    jobs.push_back(job);
  }
  result.weights_.Write(lists.weights);
  result.jobs_.Write(jobs);
  CheckCuda(cuda::PrepareProject(), "the kernel of projections");
  return result;
}

int64_t ProjectionCuda::bytes() const {
  return weights_.size() * int64_t{sizeof(float)} +
         jobs_.size() * int64_t{sizeof(cuda::ProjectJob)};
}

void ProjectionCuda::Launch(cuda::ProjectRows rows, int32_t first, int32_t count,
                            cudaStream_t stream) const {
  rows.jobs = jobs_.get() + first;
  rows.job_count = count;
  rows.most_vectors = group_;
  rows.head_dim = head_dim_;
  CheckCuda(cuda::LaunchProject(rows, stream), "projections of heads");
}

void ProjectionCuda::Project(int layer, float* qkv, int rows, const float* cos_sin,
                             cudaStream_t stream) const {
  if (!any(layer)) return;
  const Layer& of = layers_[layer];
  cuda::ProjectRows project;
  project.x = qkv;
  project.stride = int64_t{of.heads} * (group_ + 2) * head_dim_;
  project.rows = rows;
  project.cos_sin = cos_sin;
  Launch(project, of.first_project, of.projects, stream);
}

void ProjectionCuda::Restore(int layer, float* out, int rows, cudaStream_t stream) const {
  if (!any(layer)) return;
  const Layer& of = layers_[layer];
  cuda::ProjectRows restore;
  restore.x = out;
  restore.stride = int64_t{of.heads} * group_ * head_dim_;
  restore.rows = rows;
  Launch(restore, of.first_restore, of.restores, stream);
}

}  // namespace headlong
