// Options that several commands share, and how they are added to a command. Values are checked
// while the command line is parsed, so a wrong one is a usage error that names its flag.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "cli/logging.h"
#include "cli/output_flags.h"
#include "common/tls.h"

namespace headlong {

inline constexpr char kDefaultServer[] = "127.0.0.1:7000";

// What a coordinator is started with. 0 or empty: not given.
struct EngineFlags {
  std::string model;
  std::string plan;
  std::string placement;
  std::string dtype = "auto";
  std::string kv_cache_dtype = "auto";
  std::string load_format = "auto";
  std::string stripes = "auto";
  std::string objective = "latency";
  std::string moves = "auto";
  int64_t max_context = 0;
  int max_sequences = 0;
  int max_batch_tokens = 0;
};

// What the worker processes of this machine are started with.
struct LocalWorkerFlags {
  int workers = 1;
  int threads = 0;
  std::string device = "auto";
  int gpu = -1;  // -1: not given
  bool cuda_graphs = true;
  std::string sums = "auto";
  std::string memory_limit;  // sizes, one for all or one each
};

struct ListenFlags {
  std::string listen = kDefaultServer;
  std::string worker_listen;
  std::string metrics_listen;
  std::string health_listen;
  TlsFiles tls;
  std::string access_tokens;
  bool insecure = false;
};

// A server to ask, and how it and the caller know each other; empty: not said (ResolveServer).
struct ServerFlags {
  std::string context;
  std::string address;
  bool tls = false;
  TlsFiles files;          // any of them: TLS
  std::string token_file;  // holds the access token
};

// Where a command's requests go: to a server, or to a cluster of its own when a model is named.
struct TargetFlags {
  ServerFlags server;
  EngineFlags engine;
  LocalWorkerFlags local;
  bool embedded() const { return !engine.model.empty(); }
};

// `embedded`: the engine is part of a client command, so all its options need --model.
void AddEngineFlags(CLI::App* command, EngineFlags* flags, bool embedded);
void AddLocalWorkerFlags(CLI::App* command, LocalWorkerFlags* flags, bool embedded);
struct DeviceFlags {
  std::string* device = nullptr;
  int* gpu = nullptr;
  int* threads = nullptr;
  bool* cuda_graphs = nullptr;
  std::string* sums = nullptr;
};
void AddDeviceFlags(CLI::App* command, const DeviceFlags& flags);
void AddLoadFormatFlag(CLI::App* command, std::string* load_format);
// `--health-listen` and `--metrics-listen`, of any role.
void AddHealthFlag(CLI::App* command, std::string* listen);
void AddMetricsFlag(CLI::App* command, std::string* listen);
void AddListenFlags(CLI::App* command, ListenFlags* flags);
void AddLogFlags(CLI::App* command, LogFlags* flags);
void AddServerFlags(CLI::App* command, ServerFlags* flags);
void AddTlsFlags(CLI::App* command, TlsFiles* files, const char* whose_ca);
void AddTargetFlags(CLI::App* command, TargetFlags* flags);

// Checks for options: an error text, or empty.
std::string CheckByteList(const std::string& text);
std::string CheckAddress(const std::string& text);  // HOST:PORT
std::string CheckPositive(const std::string& text);

// Sampling options shared by `generate` and `batch`; in `batch` they hold for lines that say
// nothing else. What is not given is left to the server.
struct SamplingFlags {
  double temperature = 0;
  std::optional<int64_t> max_tokens;
  std::optional<double> top_p;
  std::optional<int64_t> top_k;
  std::optional<double> min_p;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  std::optional<int64_t> logprobs;
  bool ignore_eos = false;
};
void AddSamplingFlags(CLI::App* command, SamplingFlags* flags);

}  // namespace headlong
