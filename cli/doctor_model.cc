// What a doctor looks at of a model folder, and whether this machine can serve it.
#include <algorithm>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cache/plan.h"
#include "cli/doctor.h"
#include "cli/local_cluster.h"
#include "cli/quantity.h"
#include "common/status.h"
#include "coordinator/placement.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "model/tokenizer.h"
#include "worker/worker.h"

namespace headlong {
namespace {

constexpr double kAnySpeed = 1e10;  // where memory alone decides

bool CheckFolder(const std::string& folder, Findings& findings) {
  const absl::Status status = CheckModelFolder(folder);
  if (!status.ok()) {
    findings.Fail("model folder", std::string(status.message()),
                  "give the folder of a model in Hugging Face's layout");
  }
  return status.ok();
}

absl::StatusOr<ModelConfig> CheckConfig(const std::string& folder, Findings& findings) {
  absl::StatusOr<ModelConfig> config = LoadModelConfig(folder);
  if (!config.ok()) {
    findings.Fail("config.json", std::string(config.status().message()),
                  absl::IsUnimplemented(config.status())
                      ? "README.md names the families that run"
                      : "download the folder again: config.json is its table of contents");
    return config;
  }
  findings.Ok("config.json", absl::StrCat(config->architecture, ", ", config->layers, " layers of ",
                                          config->kv_heads, " KV heads, context ",
                                          FormatCount(config->max_context)));
  return config;
}

std::shared_ptr<const Checkpoint> CheckWeights(const std::string& folder, const ModelConfig& config,
                                               Findings& findings) {
  const auto checkpoint = Checkpoint::Open(folder, config);
  if (!checkpoint.ok()) {
    const bool missing = absl::IsNotFound(checkpoint.status());
    findings.Fail("weights", std::string(checkpoint.status().message()),
                  missing ? "the download is not complete: fetch the file that is named"
                          : "the file is cut off or damaged: fetch it again, then `headlong model "
                            "verify`");
    return nullptr;
  }
  findings.Ok("weights", absl::StrCat(FormatBytes((*checkpoint)->bytes()), " in ",
                                      (*checkpoint)->stored_dtype(),
                                      "; `headlong model verify` reads all of them"));
  return *checkpoint;
}

void CheckTokenizer(const std::string& folder, Findings& findings) {
  const absl::Status status = LoadTokenizer(folder).status();
  if (status.ok()) {
    findings.Ok("tokenizer", "can be used");
  } else {
    findings.Fail("tokenizer", std::string(status.message()),
                  "fetch tokenizer.json (or tokenizer.model, or vocab.json with merges.txt) again");
  }
}

absl::StatusOr<Plan> CheckPlan(const TargetFlags& target, const PlanShape& shape,
                               Findings& findings) {
  absl::StatusOr<Plan> plan = Plan::Load(target.engine.plan, target.engine.model, shape);
  if (!plan.ok()) {
    findings.Fail("plan", std::string(plan.status().message()),
                  "the plan is another model's, or was edited: `headlong calibrate` makes one, "
                  "--plan full needs none");
    return plan;
  }
  int full = 0;
  for (int layer = 0; layer < plan->layers(); ++layer) {
    for (int head = 0; head < plan->kv_heads(); ++head) {
      full += plan->policy(layer, head).full() ? 1 : 0;
    }
  }
  findings.Ok("plan", absl::StrCat(full, " of ", plan->layers() * plan->kv_heads(),
                                   " heads keep everything"));
  return plan;
}

bool CheckDeviceOf(const LocalWorkerFlags& local, Findings& findings) {
  const absl::Status status = CheckDevice(local.device, local.gpu);
  if (!status.ok()) {
    findings.Fail("device", std::string(status.message()),
                  "install the driver, build with a CUDA compiler, or use --device cpu");
    return false;
  }
  const int gpus = local.device == "cpu" ? 0 : CountUsableGpus();
  findings.Ok("device", gpus > 0 ? absl::StrCat(gpus, " GPUs can be used") : "CPUs");
  return true;
}

// The memory that each worker of this machine would have.
std::vector<int64_t> MemoryOf(const LocalClusterOptions& options, int64_t free_bytes) {
  std::vector<int64_t> limits(options.workers, free_bytes / 2 / options.workers);
  for (size_t i = 0; i < limits.size() && !options.memory_limits.empty(); ++i) {
    limits[i] = options.memory_limits[options.memory_limits.size() == 1 ? 0 : i];
  }
  return limits;
}

PlacementProblem ProblemOf(const LocalClusterOptions& options, const ModelConfig& config,
                           const Plan& plan, const Checkpoint& checkpoint) {
  PlacementProblem problem;
  problem.config = &config;
  problem.plan = &plan;
  problem.max_context =
      options.coordinator.max_context > 0 ? options.coordinator.max_context : config.max_context;
  problem.max_sequences = options.coordinator.max_sequences;
  problem.max_batch_tokens = options.coordinator.max_batch_tokens;
  problem.stripes = options.coordinator.stripes == "auto";
  const bool narrow = checkpoint.stored_dtype() == "bf16" && options.coordinator.dtype != "fp32";
  problem.weight_element_bytes = problem.embedding_element_bytes = narrow ? 2 : 4;
  const bool wide_cache =
      options.coordinator.kv_cache_dtype == "fp32" || options.coordinator.dtype == "fp32";
  problem.cache_element_bytes = wide_cache ? 4 : 2;
  return problem;
}

// Whether the same code that places a model would find a place for this one.
void CheckMemory(const LocalClusterOptions& options, PlacementProblem problem, Findings& findings) {
  const int64_t free_bytes = FreeMemoryBytes();
  int64_t all = 0;
  for (const int64_t limit : MemoryOf(options, free_bytes)) {
    problem.workers.push_back(
        {absl::StrCat("w", problem.workers.size()), "cpu", limit, kAnySpeed, kAnySpeed, 0});
    all += limit;
  }
  const std::string have =
      absl::StrCat(options.workers, options.workers == 1 ? " worker" : " workers", " may take ",
                   FormatBytes(all), " of the ", FormatBytes(free_bytes), " that are free");
  const absl::Status placed = Place(problem).status();
  if (!placed.ok()) {
    return findings.Fail("memory", absl::StrCat(have, "; ", placed.message()),
                         "free memory, raise --memory-limit, lower --max-context, or use more "
                         "machines or a plan with fewer full heads");
  }
  if (all > free_bytes) {
    return findings.Warn("memory", have,
                         "the system may end workers that take it: lower "
                         "--memory-limit");
  }
  findings.Ok("memory", absl::StrCat(have, ": the model and one sequence of ",
                                     FormatCount(problem.max_context), " tokens fit"));
}

}  // namespace

void CheckModel(const TargetFlags& target, Findings& findings) {
  const std::string& folder = target.engine.model;
  if (!CheckFolder(folder, findings)) return;
  const bool device = CheckDeviceOf(target.local, findings);
  const absl::StatusOr<ModelConfig> config = CheckConfig(folder, findings);
  if (!config.ok()) return;
  CheckTokenizer(folder, findings);
  const std::shared_ptr<const Checkpoint> checkpoint = CheckWeights(folder, *config, findings);
  // A plan is held against the weights by their fingerprint, where they can be read.
  const PlanShape shape =
      PlanShapeOf(*config, checkpoint == nullptr ? "" : checkpoint->fingerprint());
  const absl::StatusOr<Plan> plan = CheckPlan(target, shape, findings);
  if (!plan.ok() || checkpoint == nullptr || !device) return;
  const absl::StatusOr<LocalClusterOptions> options =
      ClusterOptionsFrom(target.engine, target.local);
  if (!options.ok()) {
    return findings.Fail("options", std::string(options.status().message()), "see --help");
  }
  const bool on_gpus = target.local.device != "cpu" && CountUsableGpus() > 0;
  if (on_gpus && options->memory_limits.empty()) {
    return findings.Ok("memory", "of GPUs is measured by their workers when they start");
  }
  const Plan bounded = plan->BoundedBy(config->layer_windows);
  CheckMemory(*options, ProblemOf(*options, *config, bounded, *checkpoint), findings);
}

}  // namespace headlong
