#include "cli/flags.h"

#include <charconv>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cli/quantity.h"

namespace headlong {
namespace {

constexpr char kServerGroup[] = "Server";
constexpr char kClusterGroup[] = "Cluster";
constexpr char kSamplingGroup[] = "Sampling";

}  // namespace

std::string CheckByteList(const std::string& text) {
  const auto sizes = ParseByteList(text);
  return sizes.ok() ? "" : std::string(sizes.status().message());
}

std::string CheckAddress(const std::string& text) {
  const size_t colon = text.rfind(':');
  int port = -1;
  if (colon != std::string::npos && colon > 0) {
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data() + colon + 1, end, port);
    if (parsed.ec == std::errc() && parsed.ptr == end && port >= 0 && port <= 65535) return "";
  }
  return "\"" + text + "\" is not HOST:PORT with a port from 0 to 65535";
}

std::string CheckPositive(const std::string& text) {
  double number = 0;
  if (absl::SimpleAtod(text, &number) && number > 0) return "";
  return "must be above 0, is \"" + text + "\"";
}

void AddEngineFlags(CLI::App* command, EngineFlags* flags, bool embedded) {
  CLI::Option* model =
      command
          ->add_option("--model", flags->model,
                       embedded ? "Model folder: run on an own cluster instead of a server"
                                : "Model folder (default: models/needle-10m, where it is found)")
          ->group(kClusterGroup);
  const auto add = [&](CLI::Option* option) {
    option->group(kClusterGroup);
    if (embedded) option->needs(model);
    return option;
  };
  add(command->add_option(
      "--plan", flags->plan,
      "full, local, or a plan file (default: plan.json of the model, else full)"));
  add(command->add_option("--placement", flags->placement,
                          "Which worker holds what: a file as `placement show -o json` prints "
                          "(default: decided here)"));
  add(command->add_option("--dtype", flags->dtype,
                          "Weights and products: auto (what is faster here), fp32 or bf16"))
      ->check(CLI::IsMember({"auto", "fp32", "bf16"}));
  add(command->add_option("--kv-cache-dtype", flags->kv_cache_dtype,
                          "Keys and values: auto (bf16 unless --dtype fp32), fp32, bf16 or "
                          "fp16"))
      ->check(CLI::IsMember({"auto", "fp32", "bf16", "fp16"}));
  AddLoadFormatFlag(command, &flags->load_format);
  if (embedded) command->get_option("--load-format")->needs(model);
  add(command->add_option("--stripes", flags->stripes,
                          "Whether retrieval heads may be split over workers: auto (where that "
                          "pays) or off"))
      ->check(CLI::IsMember({"auto", "off"}));
  add(command->add_option("--objective", flags->objective,
                          "Placement for latency (the fastest step) or capacity (the most "
                          "sequences, then that)"))
      ->check(CLI::IsMember({"latency", "capacity"}));
  add(command->add_option("--moves", flags->moves,
                          "How requests go on when workers are drained or placed anew: live (their "
                          "caches are sent), replay (they are computed again) or auto (what is "
                          "faster)"))
      ->check(CLI::IsMember({"auto", "replay", "live"}));
  add(command->add_option("--max-context", flags->max_context,
                          "Most tokens of a sequence (default: the model's)"))
      ->check(CheckPositive, "POSITIVE");
  add(command->add_option("--max-sequences", flags->max_sequences, "Sequences computed at once"))
      ->check(CLI::Range(1, 65536));
  add(command->add_option("--max-batch-tokens", flags->max_batch_tokens,
                          "Most tokens of one step (default: 512)"))
      ->check(CLI::Range(1, 1 << 20));
}

void AddDeviceFlags(CLI::App* command, const DeviceFlags& flags) {
  command->add_option("--device", *flags.device, "auto (a GPU where one can be used), cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->group(kClusterGroup);
  command->add_option("--gpu", *flags.gpu, "Which GPU: the first worker's, counted from 0")
      ->check(CLI::Range(0, 1023))
      ->group(kClusterGroup);
  command
      ->add_option("--threads", *flags.threads,
                   "Threads of each worker (default: the cores, shared)")
      ->check(CLI::Range(1, 4096))
      ->group(kClusterGroup);
  command
      ->add_option("--cuda-graphs", *flags.cuda_graphs,
                   "on (default): a GPU replays decode steps; off: it launches every kernel")
      ->option_text("on|off")
      ->group(kClusterGroup);
  command
      ->add_option("--sums", *flags.sums,
                   "How GPUs sum few numbers: push (through each other's memory), nccl, or auto "
                   "(push where they can)")
      ->check(CLI::IsMember({"auto", "nccl", "push"}))
      ->group(kClusterGroup);
}

void AddLoadFormatFlag(CLI::App* command, std::string* load_format) {
  command
      ->add_option("--load-format", *load_format,
                   "auto, or dummy: random weights, nothing but config.json is needed")
      ->check(CLI::IsMember({"auto", "dummy"}))
      ->group(kClusterGroup);
}

void AddLocalWorkerFlags(CLI::App* command, LocalWorkerFlags* flags, bool embedded) {
  command->add_option("--workers", flags->workers, "Worker processes to start")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str()
      ->group(kClusterGroup);
  AddDeviceFlags(command,
                 {&flags->device, &flags->gpu, &flags->threads, &flags->cuda_graphs, &flags->sums});
  command
      ->add_option("--memory-limit", flags->memory_limit,
                   "Memory of a worker, e.g. 2GiB; or one size per worker: 2GiB,8GiB")
      ->check(CheckByteList)
      ->group(kClusterGroup);
  if (!embedded) return;
  CLI::Option* model = command->get_option("--model");
  for (const char* name : {"--workers", "--device", "--gpu", "--threads", "--cuda-graphs", "--sums",
                           "--memory-limit"}) {
    command->get_option(name)->needs(model);
  }
}

void AddHealthFlag(CLI::App* command, std::string* listen) {
  command
      ->add_option("--health-listen", *listen,
                   "Address for probes, gRPC health without TLS: startup, liveness, readiness "
                   "(default: none)")
      ->check(CheckAddress)
      ->group(kServerGroup);
}

void AddListenFlags(CLI::App* command, ListenFlags* flags) {
  const auto file = [command](const char* flag, std::string& path, const char* what) {
    command->add_option(flag, path, what)->group(kServerGroup);
  };
  file("--tls-cert", flags->tls.cert, "Certificate of the coordinator, PEM: clients speak TLS");
  file("--tls-key", flags->tls.key, "Key of the certificate, PEM");
  file(
      "--access-tokens", flags->access_tokens,
      "File of the tokens that clients show, as `headlong auth token create` writes it; needs TLS");
  command->add_option("--listen", flags->listen, "Address for clients; port 0: any free one")
      ->check(CheckAddress)
      ->capture_default_str()
      ->group(kServerGroup);
  command->add_option("--worker-listen", flags->worker_listen, "Address for workers")
      ->check(CheckAddress)
      ->group(kServerGroup);
  AddHealthFlag(command, &flags->health_listen);
  AddMetricsFlag(command, &flags->metrics_listen);
  command
      ->add_flag("--insecure", flags->insecure, "Allow addresses beyond this machine without TLS")
      ->group(kServerGroup);
}

void AddLogFlags(CLI::App* command, LogFlags* flags) {
  command->add_option("--log-level", flags->level, "debug, info, warn, error or off")
      ->check(CLI::IsMember({"debug", "info", "warn", "error", "off"}))
      ->capture_default_str();
  command->add_option("--log-format", flags->format, "text, or json: one object a line, on stderr")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
}

void AddMetricsFlag(CLI::App* command, std::string* listen) {
  command
      ->add_option("--metrics-listen", *listen,
                   "Address for Prometheus, plain HTTP: GET /metrics (default: none)")
      ->check(CheckAddress)
      ->group(kServerGroup);
}

void AddTlsFlags(CLI::App* command, TlsFiles* files, const char* whose_ca) {
  const auto add = [command](const char* flag, std::string& file, const std::string& what) {
    return command->add_option(flag, file, what)->group(kServerGroup);
  };
  add("--tls-ca", files->ca, whose_ca)->envname("HEADLONG_TLS_CA");
  add("--tls-cert", files->cert, "Certificate of this end, PEM");
  add("--tls-key", files->key, "Key of the certificate, PEM");
}

void AddServerFlags(CLI::App* command, ServerFlags* flags) {
  command
      ->add_option("--server", flags->address,
                   absl::StrCat("Server to ask (default: $HEADLONG_SERVER, the context in use, ",
                                kDefaultServer, ")"))
      ->check(CheckAddress)
      ->group(kServerGroup);
  command
      ->add_option("--context", flags->context,
                   "Server of this name, as `headlong config` keeps it (default: the one in use)")
      ->type_name("CONTEXT")
      ->group(kServerGroup);
  command->add_flag("--tls", flags->tls, "Speak TLS; the system's authorities vouch for the server")
      ->group(kServerGroup);
  command
      ->add_option("--tls-ca", flags->files.ca,
                   "Speak TLS; this file's certificates vouch for the server (default: "
                   "$HEADLONG_TLS_CA)")
      ->group(kServerGroup);
  command
      ->add_option("--token-file", flags->token_file,
                   "File that holds the access token; needs TLS (default: $HEADLONG_TOKEN_FILE)")
      ->group(kServerGroup);
}

void AddTargetFlags(CLI::App* command, TargetFlags* flags) {
  AddServerFlags(command, &flags->server);
  AddEngineFlags(command, &flags->engine, /*embedded=*/true);
  AddLocalWorkerFlags(command, &flags->local, /*embedded=*/true);
}

void AddSamplingFlags(CLI::App* command, SamplingFlags* flags) {
  const auto add = [&](CLI::Option* option) { return option->group(kSamplingGroup); };
  add(command->add_option("--max-tokens", flags->max_tokens,
                          "Most tokens to generate (default: 256)"));
  add(command->add_option("--temperature", flags->temperature,
                          "0: greedy, the same every time; the API's own default is 1"))
      ->capture_default_str();
  add(command->add_option("--top-p", flags->top_p,
                          "Sample from the likeliest tokens of this mass"));
  add(command->add_option("--top-k", flags->top_k, "Sample from so many likeliest tokens"));
  add(command->add_option("--min-p", flags->min_p,
                          "Sample from tokens at least so likely, relative to the likeliest"));
  add(command->add_option("--seed", flags->seed, "Makes sampling repeatable"));
  add(command->add_option("--stop", flags->stop, "Text that ends the answer; may be repeated"))
      ->allow_extra_args(false);
  add(command->add_option("--logprobs", flags->logprobs,
                          "Log-probability of each token and so many alternatives"));
  add(command->add_flag("--ignore-eos", flags->ignore_eos, "Go on after the end-of-text token"));
}

}  // namespace headlong
