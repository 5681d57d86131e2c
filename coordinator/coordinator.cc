#include "coordinator/coordinator.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <spdlog/spdlog.h>

#include <mutex>
#include <utility>

#include "common/health_server.h"
#include "common/json.h"
#include "common/status.h"
#include "coordinator/admin_service.h"
#include "coordinator/calibration/projections_file.h"
#include "coordinator/engine.h"
#include "coordinator/engine_answer.h"
#include "coordinator/gate.h"
#include "coordinator/inference_service.h"
#include "coordinator/listen_address.h"
#include "coordinator/listener.h"
#include "coordinator/metrics_server.h"
#include "coordinator/placement_json.h"
#include "coordinator/worker_link_service.h"
#include "model/alibi.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "model/layer_windows.h"
#include "model/tokenizer.h"

namespace headlong {
namespace {

constexpr int kMaxClientMessageBytes = 16 << 20;
constexpr int kMaxWorkerMessageBytes = 64 << 20;
constexpr int kMaxMetadataBytes = 8 << 10;
constexpr int kMaxStreamsPerConnection = 1024;
constexpr size_t kMaxClientBufferBytes = size_t{256} << 20;  // of all connections
constexpr int kHandshakeTimeoutMs = 10000;
constexpr int kClientIdleMs = 300000;  // a connection without calls
constexpr int kClientPingMs = 30000;   // a client that does not answer is gone
constexpr int kClientPingTimeoutMs = 10000;
// File descriptors that connections of clients leave to everybody else, and those of workers.
constexpr int kReservedFromClients = 256;
constexpr int kReservedFromWorkers = 64;

// What is read from the model folder, and does not change.
struct ServedModel {
  ModelConfig config;
  std::unique_ptr<Plan> plan;
  v1::Placement placement;  // without workers unless one is given
  std::unique_ptr<Tokenizer> tokenizer;
  v1::GetModelResponse description;
};

absl::Status CheckAddresses(const CoordinatorOptions& options) {
  RETURN_IF_ERROR(CheckTlsFiles(options.tls));
  const bool clients_known = !options.access_tokens.empty();
  const bool workers_known = !options.tls.ca.empty();
  if (clients_known && options.tls.cert.empty()) {
    return absl::InvalidArgumentError(
        "--access-tokens: would cross the network in the clear; give --tls-cert and --tls-key");
  }
  if (workers_known && options.tls.cert.empty()) {
    return absl::InvalidArgumentError("--tls-cert: --tls-ca needs it, and --tls-key");
  }
  RETURN_IF_ERROR(CheckListenAddress(options.listen, "--listen", options.insecure || clients_known,
                                     "--tls-cert, --tls-key and --access-tokens"));
  RETURN_IF_ERROR(CheckListenAddress(options.worker_listen, "--worker-listen",
                                     options.insecure || workers_known,
                                     "--tls-cert, --tls-key and --tls-ca"));
  // Numbers about the service, no content: strangers may read them.
  if (!options.metrics_listen.empty()) {
    RETURN_IF_ERROR(CheckListenAddress(options.metrics_listen, "--metrics-listen", true, ""));
  }
  if (!options.health_listen.empty()) {
    RETURN_IF_ERROR(CheckListenAddress(options.health_listen, "--health-listen", true, ""));
  }
  return absl::OkStatus();
}

absl::Status CheckOptions(const CoordinatorOptions& options) {
  RETURN_IF_ERROR(CheckAddresses(options));
  const auto positive = [](int64_t value, const char* flag) {
    if (value >= 1) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(flag, ": must be at least 1, is ", value));
  };
  RETURN_IF_ERROR(positive(options.expected_workers, "--expected-workers"));
  RETURN_IF_ERROR(positive(options.max_sequences, "--max-sequences"));
  RETURN_IF_ERROR(positive(options.max_batch_tokens, "--max-batch-tokens"));
  RETURN_IF_ERROR(positive(options.max_waiting, "--max-waiting"));
  if (options.dtype != "auto" && options.dtype != "fp32" && options.dtype != "bf16") {
    return absl::InvalidArgumentError(
        absl::StrCat("--dtype: must be auto, fp32 or bf16, is \"", options.dtype, "\""));
  }
  if (options.stripes != "auto" && options.stripes != "off") {
    return absl::InvalidArgumentError(
        absl::StrCat("--stripes: must be auto or off, is \"", options.stripes, "\""));
  }
  if (options.placement_objective != "latency" && options.placement_objective != "capacity") {
    return absl::InvalidArgumentError(absl::StrCat(
        "--objective: must be latency or capacity, is \"", options.placement_objective, "\""));
  }
  RETURN_IF_ERROR(MoveModeFromName(options.moves).status());
  const std::string& cache = options.kv_cache_dtype;
  if (cache == "auto" || PlainStorageFromName(cache).ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--kv-cache-dtype: must be auto, fp32, bf16 or fp16, is \"", cache, "\""));
}

// "auto" is bf16 unless products are asked for in fp32.
std::string KvCacheDtype(const CoordinatorOptions& options) {
  if (options.kv_cache_dtype != "auto") return options.kv_cache_dtype;
  return options.dtype == "fp32" ? "fp32" : "bf16";
}

void FillShape(const ModelConfig& config, const Checkpoint& checkpoint, v1::ModelShape& shape) {
  shape.set_architecture(config.architecture);
  shape.set_layers(config.layers);
  shape.set_q_heads(config.q_heads);
  shape.set_kv_heads(config.kv_heads);
  shape.set_head_dim(config.head_dim);
  shape.set_hidden_size(config.hidden_size);
  shape.set_intermediate_size(config.intermediate_size);
  shape.set_vocab_size(config.vocab_size);
  shape.set_max_context(static_cast<uint32_t>(config.max_context));
  shape.set_parameters(checkpoint.parameters());
  shape.set_tied_embeddings(config.tied_embeddings);
  shape.set_stored_dtype(checkpoint.stored_dtype());
  shape.set_fingerprint(checkpoint.fingerprint());
  shape.set_rope(DescribePositions(config));
  shape.set_sliding_window(DescribeWindows(config.layer_windows));
}

absl::StatusOr<ServedModel> LoadServedModel(const CoordinatorOptions& options) {
  ServedModel model;
  ASSIGN_OR_RETURN(model.config, LoadModelConfig(options.model_dir));
  // Headers only: the tensors are the workers'.
  const bool dummy = options.load_format == "dummy";
  ASSIGN_OR_RETURN(const auto checkpoint, dummy
                                              ? Checkpoint::Dummy(model.config)
                                              : Checkpoint::Open(options.model_dir, model.config));
  if (dummy && !HasTokenizer(options.model_dir)) {
    model.tokenizer = MakeIdTokenizer(model.config.vocab_size);
  } else {
    ASSIGN_OR_RETURN(model.tokenizer, LoadTokenizer(options.model_dir));
  }
  const PlanShape shape = PlanShapeOf(model.config, checkpoint->fingerprint());
  ASSIGN_OR_RETURN(Plan plan, Plan::Load(options.plan, options.model_dir, shape));
  RETURN_IF_ERROR(
      LoadProjections(Plan::File(options.plan, options.model_dir), model.config.head_dim, plan));
  model.plan = std::make_unique<Plan>(std::move(plan));
  if (!options.placement.empty()) {
    ASSIGN_OR_RETURN(const std::string text, ReadFile(options.placement));
    ASSIGN_OR_RETURN(model.placement, PlacementFromJson(text, model.config, *model.plan,
                                                        options.placement.string()));
  }
  const int64_t context = options.max_context > 0 ? options.max_context : model.config.max_context;
  if (context > model.config.max_context || context < 2) {
    return absl::InvalidArgumentError(absl::StrCat("--max-context: must be in [2, ",
                                                   model.config.max_context, "] (the model's), is ",
                                                   context));
  }
  std::filesystem::path folder = std::filesystem::absolute(options.model_dir).lexically_normal();
  if (folder.filename().empty()) folder = folder.parent_path();
  model.description.set_name(folder.filename().string());
  FillShape(model.config, *checkpoint, *model.description.mutable_shape());
  model.description.set_max_context(static_cast<uint32_t>(context));
  model.description.set_max_sequences(options.max_sequences);
  model.description.set_plan_json(model.plan->ToJson());
  model.description.set_kv_cache_dtype(KvCacheDtype(options));
  return model;
}

EngineOptions EngineOptionsOf(const CoordinatorOptions& options, const ServedModel& model) {
  EngineOptions engine;
  engine.model_name = model.description.name();
  engine.fingerprint = model.description.shape().fingerprint();
  engine.stored_in_bf16 = model.description.shape().stored_dtype() == "bf16";
  engine.dtype = options.dtype;
  engine.cache_storage = PlainStorageFromName(KvCacheDtype(options)).value();  // as CheckOptions
  engine.max_context = model.description.max_context();
  engine.max_sequences = options.max_sequences;
  engine.max_batch_tokens = options.max_batch_tokens;
  engine.max_waiting = options.max_waiting;
  engine.placement = model.placement;
  engine.stripes = options.stripes == "auto";
  engine.objective =
      options.placement_objective == "capacity" ? Objective::kCapacity : Objective::kLatency;
  engine.moves = MoveModeFromName(options.moves).value();  // the same
  engine.ends_workers = options.ends_workers;
  engine.cluster.expected_workers = options.expected_workers;
  engine.cluster.rejoin_grace = options.rejoin_grace;
  return engine;
}

void ConfigureServer(grpc::ServerBuilder& builder, int max_message_bytes) {
  builder.SetMaxReceiveMessageSize(max_message_bytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 500);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  // What a call may send before anybody reads it stays 64 KB, as ConnectionGuard counts on: gRPC
  // would raise it to 16 MB. A message that is being read has room for all of it either way.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
}

// What strangers may hold of this process.
void BoundClients(grpc::ServerBuilder& builder) {
  grpc::ResourceQuota quota("clients");
  quota.Resize(kMaxClientBufferBytes);
  builder.SetResourceQuota(quota);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kClientIdleMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kClientPingMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kClientPingTimeoutMs);
}

using Credentials = std::shared_ptr<grpc::ServerCredentials>;

Credentials WorkerCredentials(const CoordinatorOptions& options) {
  if (options.tls.ca.empty()) return grpc::InsecureServerCredentials();
  Credentials credentials = MakeServerCredentials(options.tls);
  credentials->SetAuthMetadataProcessor(MakeWorkerGate());
  return credentials;
}

Credentials ClientCredentials(const CoordinatorOptions& options,
                              const std::shared_ptr<TokenFile>& tokens) {
  if (options.tls.cert.empty()) return grpc::InsecureServerCredentials();
  TlsFiles files = options.tls;
  files.ca.clear();  // clients show tokens
  Credentials credentials = MakeServerCredentials(files);
  if (tokens != nullptr) credentials->SetAuthMetadataProcessor(MakeClientGate(tokens));
  return credentials;
}

// A server behind its port. `cut`: as Listener::AddTo.
absl::StatusOr<std::unique_ptr<grpc::Server>> Serve(grpc::ServerBuilder& builder,
                                                    Listener& listener,
                                                    const Credentials& credentials, int reserved,
                                                    prometheus::Counter* cut) {
  RETURN_IF_ERROR(listener.AddTo(builder, credentials, cut));
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return absl::InternalError("gRPC does not start a server");
  listener.Start(reserved);
  return server;
}

class CoordinatorServer final : public Coordinator {
 public:
  CoordinatorServer(const CoordinatorOptions& options, ServedModel model)
      : options_(options),
        model_(std::move(model)),
        engine_(EngineOptionsOf(options, model_), &model_.config, model_.plan.get(),
                model_.tokenizer.get()),
        inference_(&inference_context_),
        admin_(&engine_, &inference_context_.tokens),
        link_(&engine_) {
    inference_context_.engine = &engine_;
    inference_context_.tokenizer = model_.tokenizer.get();
    inference_context_.limits.model_name = model_.description.name();
    inference_context_.limits.vocab_size = model_.config.vocab_size;
    inference_context_.limits.max_context = model_.description.max_context();
    inference_context_.limits.max_sequences = options_.max_sequences;
    inference_context_.limits.max_batch_tokens = options_.max_batch_tokens;
    inference_context_.client_limits = &client_limits_;
    inference_context_.model = model_.description;
  }
  ~CoordinatorServer() override { Shutdown(Millis(0)); }

  absl::Status Listen() {
    if (!options_.metrics_listen.empty()) {
      ASSIGN_OR_RETURN(metrics_,
                       MetricsServer::Start(options_.metrics_listen, &engine_, options_.tls));
      inference_context_.metrics = &metrics_->requests();
    }
    if (!options_.health_listen.empty()) {
      ASSIGN_OR_RETURN(health_, HealthServer::Start(options_.health_listen));
    }
    RETURN_IF_ERROR(StartServers());
    auto* health = client_server_->GetHealthCheckService();
    health->SetServingStatus("startup", true);
    health->SetServingStatus("liveness", true);
    if (health_ != nullptr) health_->SetStarted();
    SetHealth(false);
    engine_.OnServing([this](bool serving) { SetHealth(serving); });
    engine_.Start();
    spdlog::info("serving {} on {}, workers on {}", model_.description.name(), client_address(),
                 worker_address());
    if (metrics_ != nullptr) spdlog::info("metrics on http://{}/metrics", metrics_address());
    return absl::OkStatus();
  }

  std::string client_address() const override {
    return WithPort(options_.listen, client_port_->port());
  }
  std::string worker_address() const override {
    return WithPort(options_.worker_listen, worker_port_->port());
  }
  std::string metrics_address() const override {
    return metrics_ == nullptr ? "" : WithPort(options_.metrics_listen, metrics_->port());
  }
  absl::StatusOr<v1::GetClusterResponse> GetCluster() override {
    return AnswerOf<v1::GetClusterResponse>(engine_);
  }
  absl::StatusOr<v1::ListWorkersResponse> ListWorkers() override {
    return AnswerOf<v1::ListWorkersResponse>(engine_);
  }

  void Shutdown(std::chrono::milliseconds drain) override {
    std::call_once(shut_down_, [&] {
      engine_.Stop(drain);
      for (Listener* port : {client_port_.get(), worker_port_.get()}) {
        if (port != nullptr) port->Stop();
      }
      const auto deadline = std::chrono::system_clock::now() + std::chrono::seconds(1);
      if (client_server_ != nullptr) client_server_->Shutdown(deadline);
      if (worker_server_ != nullptr) worker_server_->Shutdown(deadline);
      engine_.Join();
    });
  }

 private:
  absl::Status StartServers() {
    ASSIGN_OR_RETURN(worker_port_, Listener::Bind(options_.worker_listen, "--worker-listen"));
    ASSIGN_OR_RETURN(client_port_, Listener::Bind(options_.listen, "--listen"));
    if (!options_.access_tokens.empty()) {
      ASSIGN_OR_RETURN(inference_context_.tokens, TokenFile::Open(options_.access_tokens));
    }
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::ServerBuilder workers;
    ConfigureServer(workers, kMaxWorkerMessageBytes);
    workers.RegisterService(&link_);
    ASSIGN_OR_RETURN(worker_server_, Serve(workers, *worker_port_, WorkerCredentials(options_),
                                           kReservedFromWorkers, CutConnections("worker")));
    grpc::ServerBuilder clients;
    ConfigureServer(clients, kMaxClientMessageBytes);
    BoundClients(clients);
    clients.RegisterService(&inference_);
    clients.RegisterService(&admin_);
    ASSIGN_OR_RETURN(client_server_, Serve(clients, *client_port_,
                                           ClientCredentials(options_, inference_context_.tokens),
                                           kReservedFromClients, CutConnections("client")));
    return absl::OkStatus();
  }

  prometheus::Counter* CutConnections(const char* port) {
    return metrics_ == nullptr ? nullptr : &metrics_->CutConnections(port);
  }

  void SetHealth(bool serving) {
    auto* health = client_server_->GetHealthCheckService();
    for (const char* name : {"", "readiness", "headlong.v1.Inference"}) {
      health->SetServingStatus(name, serving);
    }
    if (health_ != nullptr) health_->SetReady(serving);
  }

  const CoordinatorOptions options_;
  const ServedModel model_;
  Engine engine_;
  std::unique_ptr<MetricsServer> metrics_;
  std::unique_ptr<HealthServer> health_;
  ClientLimits client_limits_;
  InferenceContext inference_context_;
  InferenceService inference_;
  AdminService admin_;
  WorkerLinkService link_;
  std::unique_ptr<grpc::Server> client_server_;
  std::unique_ptr<grpc::Server> worker_server_;
  std::unique_ptr<Listener> client_port_;
  std::unique_ptr<Listener> worker_port_;
  std::once_flag shut_down_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Start(const CoordinatorOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  RaiseDescriptorLimit();
  ASSIGN_OR_RETURN(ServedModel model, LoadServedModel(options));
  auto server = std::make_unique<CoordinatorServer>(options, std::move(model));
  RETURN_IF_ERROR(server->Listen());
  return server;
}

}  // namespace headlong
