// Several workers of one cluster inside the test's process: real epochs and real Gloo between
// threads, no coordinator. Each command goes to all of them and returns when all are done.
#pragma once

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "headlong/v1/worker.pb.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "worker/epoch.h"

namespace headlong {

class MemoryRendezvous final : public Rendezvous {
 public:
  absl::Status Put(const std::string& key, const std::string& value) override;
  absl::StatusOr<std::string> Get(const std::string& key,
                                  std::chrono::milliseconds timeout) override;
  void Clear();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::string> values_;
};

struct LocalOptions {
  std::filesystem::path model_dir;
  int workers = 1;
  int first_worker = 0;       // rank r is worker first_worker + r; for Move
  std::string plan = "full";  // as Plan::Load, or JSON text
  std::shared_ptr<const Projections> projections = nullptr;  // of a plan with ranks
  std::string dtype = "fp32";
  std::string kv_cache_dtype;         // empty: as dtype
  bool dummy = false;                 // no files but config.json
  std::vector<DeviceChoice> devices;  // taken in turn; none: CPUs
  // Stripes of most retrieval heads by rank, or no head at all; empty: none is split.
  std::vector<int> stripes;
  bool cuda_graphs = true;
  bool keeps_logits = true, measure = false;  // measure: dry steps before the first one
  v1::SamplingParams sampling;                // of every sequence; seeds are the ids
  Sums sums = Sums::kAuto;
  int max_sequences = 4;
  int max_context = 0;  // 0: the model's
  int max_batch_tokens = 512;
  int rope_bits = 24;  // significant bits that rotary frequencies are rounded to; 24: as they are
};

// Where a test runs: on CPUs, or on the GPUs of this machine, which may be none.
enum class On { kCpu, kCuda };
inline void PrintTo(On on, std::ostream* out) { *out << (on == On::kCpu ? "Cpu" : "Cuda"); }
// For LocalOptions::devices. UNAVAILABLE, saying why, where there is no GPU that can be used.
absl::StatusOr<std::vector<DeviceChoice>> DevicesOf(On on);

class LocalWorkers {
 public:
  static absl::StatusOr<std::unique_ptr<LocalWorkers>> Begin(const LocalOptions& options);

  // Runs one step on every worker. The leader's answer.
  absl::StatusOr<v1::StepDone> Run(v1::Step step);
  // Feeds `tokens` from position 0 in chunks, decodes nothing, and gives the logits after the last
  // one. Starts sequence `id`, of which `prompt_tokens` are the prompt (0: all).
  absl::StatusOr<std::vector<float>> Prefill(uint64_t id, const std::vector<uint32_t>& tokens,
                                             int chunk, int prompt_tokens = 0);
  // Continues a sequence with forced tokens in one chunk. Logits after the last one.
  absl::StatusOr<std::vector<float>> Extend(uint64_t id, int position,
                                            const std::vector<uint32_t>& tokens);
  absl::Status End(uint64_t id);
  // A new epoch with other workers and stripes: sequences go on from their lanes. False: some
  // worker could not take part, no sequence runs any more.
  absl::StatusOr<bool> Move(const LocalOptions& options) { return BeginEpoch(options); }
  v1::LiveSequence& live(uint64_t id) { return live_.at(id); }  // what the next Move believes
  const ModelConfig& config() const { return config_; }
  const std::vector<float>& logits() const { return epochs_[0]->logits(); }  // of sampled rows
  const Plan& plan() const { return *plan_; }
  const std::optional<v1::SharedProfile>& shared(int rank) const { return epochs_[rank]->shared(); }
  int64_t cache_bytes_used() const { return cache_bytes_used_; }

 private:
  struct Joining {  // one worker's part in the beginning of an epoch
    int worker = 0;
    std::unique_ptr<Epoch> ended, begun;
    bool moved = false;
  };

  v1::Configure MakeConfigure(const LocalOptions& options) const;
  void AddTransfer(const LocalOptions& to, v1::Configure& configure) const;
  absl::StatusOr<bool> BeginEpoch(const LocalOptions& options);
  absl::Status BeginOne(const LocalOptions& options, v1::Configure configure, Joining& joining);
  void Follow(const v1::Step& step);
  absl::StatusOr<std::vector<float>> Feed(v1::Step step);
  absl::StatusOr<std::vector<float>> PrefillExact(uint64_t id, const std::vector<uint32_t>& prompt,
                                                  int chunk);

  ModelConfig config_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::unique_ptr<Plan> plan_;
  v1::SamplingParams sampling_;
  MemoryRendezvous rendezvous_;
  std::atomic<uint64_t> progress_{0};
  std::vector<std::unique_ptr<Device>> devices_;  // by worker
  std::vector<std::unique_ptr<Epoch>> epochs_;    // by rank
  v1::Placement placement_;
  int first_worker_ = 0;
  std::map<uint64_t, v1::LiveSequence> live_;
  uint64_t epoch_ = 0, steps_ = 0;
  std::vector<uint64_t> ended_;
  int64_t cache_bytes_used_ = 0;  // of all workers, after the last step
};

}  // namespace headlong
