#include "worker/gloo_context.h"

#include <gloo/transport/tcp/device.h>

#include <stdexcept>
#include <vector>

#include "common/status.h"

namespace headlong {
namespace {

// Gloo's store interface over the coordinator's rendezvous.
class RendezvousStore final : public gloo::rendezvous::Store {
 public:
  RendezvousStore(Rendezvous& rendezvous, std::string prefix, std::chrono::milliseconds timeout)
      : rendezvous_(rendezvous), prefix_(std::move(prefix)), timeout_(timeout) {}

  void set(const std::string& key, const std::vector<char>& data) override {
    const absl::Status status =
        rendezvous_.Put(prefix_ + key, std::string(data.begin(), data.end()));
    if (!status.ok()) throw std::runtime_error(std::string(status.message()));
  }
  std::vector<char> get(const std::string& key) override {
    const auto value = rendezvous_.Get(prefix_ + key, timeout_);
    if (!value.ok()) throw std::runtime_error(std::string(value.status().message()));
    return {value->begin(), value->end()};
  }
  void wait(const std::vector<std::string>& keys) override {
    for (const std::string& key : keys) get(key);
  }
  // The context's time is that of operations, which its connections take over from it: not how
  // long one waits for ranks to come.
  void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds&) override {
    wait(keys);
  }

 private:
  Rendezvous& rendezvous_;
  const std::string prefix_;
  const std::chrono::milliseconds timeout_;
};

}  // namespace

std::shared_ptr<gloo::rendezvous::Context> ConnectMesh(const GlooOptions& options,
                                                       const std::string& prefix,
                                                       Rendezvous& rendezvous) {
  gloo::transport::tcp::attr attributes;
  attributes.hostname = options.host;
  auto device = gloo::transport::tcp::CreateDevice(attributes);
  auto context = std::make_shared<gloo::rendezvous::Context>(options.rank, options.world);
  context->setTimeout(options.timeout);
  RendezvousStore store(rendezvous, prefix, options.connect_timeout);
  context->connectFullMesh(store, device);
  return context;
}

}  // namespace headlong
