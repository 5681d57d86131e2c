#include "cli/examples.h"

#include <initializer_list>
#include <string>

namespace headlong {
namespace {

struct CommandExamples {
  const char* command;  // behind "headlong"
  std::initializer_list<const char*> lines;
};

const CommandExamples kExamples[] = {
    {"serve",
     {"headlong serve --workers 2",
      "headlong serve --model /models/Llama-3.2-1B --plan plan.json --memory-limit 4GiB,12GiB"}},
    {"coordinator",
     {"headlong coordinator --model /models/llama --expected-workers 2 --listen 10.0.0.1:7000 "
      "--worker-listen 10.0.0.1:7001 --insecure"}},
    {"worker",
     {"headlong worker --coordinator 10.0.0.1:7001 --id a --model /models/llama --host 10.0.0.2"}},
    {"generate",
     {"headlong generate --prompt 'Once upon a time'",
      "headlong generate --model /models/llama --workers 2 --prompt-file question.txt --max-tokens "
      "100 -o json"}},
    {"batch", {"headlong batch --in requests.jsonl --out results.jsonl --concurrency 16"}},
    {"tokenize",
     {"headlong tokenize --text 'Once upon a time' --special",
      "headlong tokenize --model /models/llama --jsonl texts.jsonl"}},
    {"detokenize", {"headlong detokenize --text '[5, 17, 23]'"}},
    {"bench needle",
     {"headlong bench needle --lengths 4096,8192 --trials 40 --map",
      "headlong bench needle --model /models/llama --plan plan.json --task multi-needle"}},
    {"bench kernels", {"headlong bench kernels --device cuda"}},
    {"bench context",
     {"headlong bench context --model llama/config.json --load-format dummy --plan plan.json",
      "headlong bench context --tokens 100000 --decode 16 --device cpu -o json"}},
    {"cluster status",
     {"headlong cluster status", "headlong cluster status -w -o json",
      "headlong cluster status --context prod -o wide"}},
    {"top", {"headlong top", "headlong top --interval 10 -o json >> load.jsonl"}},
    {"workers list", {"headlong workers list", "headlong workers list -o name"}},
    {"workers get", {"headlong workers get w1"}},
    {"workers drain",
     {"headlong workers drain w1 --dry-run", "headlong workers drain w1 --timeout 600"}},
    {"workers return", {"headlong workers return w1"}},
    {"placement show",
     {"headlong placement show --map", "headlong placement show --svg placement.svg",
      "headlong placement show --for-context 8192 --for-concurrency 1 -o json"}},
    {"placement plan", {"headlong placement plan --exclude w3 -o plan"}},
    {"placement apply", {"headlong placement apply placement.json --check-epoch 4 --dry-run"}},
    {"placement history", {"headlong placement history", "headlong placement history -o wide"}},
    {"placement explain",
     {"headlong placement explain", "headlong placement explain w1",
      "headlong placement explain 6.0"}},
    {"placement simulate",
     {"headlong placement simulate --cluster cluster.json --model /models/llama --context 131072 "
      "--concurrency 8"}},
    {"requests list", {"headlong requests list", "headlong requests list -o wide"}},
    {"requests get", {"headlong requests get r-17"}},
    {"requests trace",
     {"headlong requests trace r-17", "headlong requests trace r-17 -o wide --svg r-17.svg",
      "headlong requests trace r-17 --watch --interval 1"}},
    {"requests cancel", {"headlong requests cancel r-17"}},
    {"model info", {"headlong model info", "headlong model info --model /models/llama -o json"}},
    {"model verify",
     {"headlong model verify --model /models/llama",
      "headlong model verify --model /models/llama --sums SHA256SUMS"}},
    {"plan show",
     {"headlong plan show --model /models/llama --plan plan.json --lengths 8192,131072"}},
    {"plan import",
     {"headlong plan import pattern.tsv --model /models/llama --sparsity 0.5 --out plan.json"}},
    {"plan export", {"headlong plan export --format duo --plan plan.json --model /models/llama"}},
    {"plan diff", {"headlong plan diff full plan.json --model /models/llama --context 32768"}},
    {"plan report", {"headlong plan report --evidence evidence.json --out report.html"}},
    {"calibrate",
     {"headlong calibrate --model /models/llama --budget 0.25 --context 8192 --out plan.json"}},
    {"certs init", {"headlong certs init certs"}},
    {"certs issue",
     {"headlong certs issue certs coordinator --role coordinator --host 10.0.0.1",
      "headlong certs issue certs a --role worker"}},
    {"certs show", {"headlong certs show certs/coordinator.crt"}},
    {"auth token create", {"headlong auth token create tokens alice --scopes infer,read"}},
    {"auth token revoke", {"headlong auth token revoke tokens alice"}},
    {"auth token list", {"headlong auth token list tokens -o json"}},
    {"config view", {"headlong config view", "headlong config view -o name"}},
    {"config validate", {"headlong config validate"}},
    {"config use", {"headlong config use prod"}},
    {"config set",
     {"headlong config set prod --server 10.0.0.1:7000 --tls-ca ca.crt --token-file root.token "
      "--use"}},
    {"config delete", {"headlong config delete prod"}},
    {"doctor",
     {"headlong doctor", "headlong doctor --server 10.0.0.1:7000 --bundle report.tar",
      "headlong doctor --model /models/llama --workers 2 --memory-limit 8GiB",
      "headlong doctor --worker-of 10.0.0.1:7001 --tls-ca ca.crt --tls-cert a.crt --tls-key "
      "a.key"}},
    {"completion",
     {"source <(headlong completion bash)",
      "headlong completion fish > ~/.config/fish/completions/headlong.fish"}},
    {"version", {"headlong version -o json"}},
};

void AddTo(CLI::App& app, const std::string& path) {
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    const std::string name = path.empty() ? command->get_name() : path + " " + command->get_name();
    for (const CommandExamples& examples : kExamples) {
      if (name != examples.command) continue;
      std::string text = "Examples:\n";
      for (const char* line : examples.lines) text += std::string("  ") + line + "\n";
      command->footer(text + "\n" + app.get_footer());
    }
    AddTo(*command, name);
  }
}

}  // namespace

void AddExamples(CLI::App& app) { AddTo(app, ""); }

}  // namespace headlong
