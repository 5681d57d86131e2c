// Gloo throws; no exception leaves this file.
#include <gloo/allreduce.h>
#include <gloo/math.h>
#include <gloo/transport/unbound_buffer.h>

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <utility>

#include "common/status.h"
#include "worker/gloo_context.h"
#include "worker/parcels.h"

namespace headlong {
namespace {

using Context = std::shared_ptr<gloo::rendezvous::Context>;

constexpr uint64_t kParcelSlot = 1 << 20;             // Gloo's own collectives use others
constexpr int64_t kMessageBytes = int64_t{16} << 20;  // of one message: progress shows after each

// How many ranks say so.
int Count(const Context& context, bool mine) {
  float count = mine ? 1 : 0;
  gloo::AllreduceOptions options(context);
  options.setOutput(&count, 1);
  options.setReduceFunction(
      static_cast<void (*)(void*, const void*, const void*, size_t)>(&gloo::sum<float>));
  gloo::allreduce(options);
  return static_cast<int>(count + 0.5f);
}

// One parcel on its way, message by message: Gloo allows one at a time of a buffer.
class Transit {
 public:
  Transit(const Context& context, int peer, Parcel& parcel, bool sends)
      : peer_(peer),
        size_(parcel.size),
        sends_(sends),
        buffer_(context->createUnboundBuffer(parcel.bytes.get(), parcel.size)) {
    Post();
  }

  // Waits for the message on its way and starts the next one. False: there is none.
  bool GoOn(std::chrono::milliseconds timeout) {
    const bool done = sends_ ? buffer_->waitSend(timeout) : buffer_->waitRecv(timeout);
    if (!done) throw std::runtime_error("interrupted");
    if (posted_ == size_) return false;
    Post();
    return true;
  }

 private:
  void Post() {
    const int64_t bytes = std::min(kMessageBytes, size_ - posted_);
    if (sends_) {
      buffer_->send(peer_, kParcelSlot, posted_, bytes);
    } else {
      buffer_->recv(peer_, kParcelSlot, posted_, bytes);
    }
    posted_ += bytes;
  }

  const int peer_;
  const int64_t size_;
  const bool sends_;
  const std::unique_ptr<gloo::transport::UnboundBuffer> buffer_;
  int64_t posted_ = 0;
};

bool Exchange(const GlooOptions& options, Rendezvous& rendezvous, Parcels& parcels,
              const std::function<void()>& progress) {
  const Context context = ConnectMesh(options, "lanes/", rendezvous);
  if (Count(context, parcels.ready) < options.world) return false;
  std::vector<std::unique_ptr<Transit>> transits;
  for (const bool sends : {false, true}) {
    for (int peer = 0; peer < options.world; ++peer) {
      Parcel& parcel = sends ? parcels.out[peer] : parcels.in[peer];
      if (peer == options.rank || parcel.size == 0) continue;
      transits.push_back(std::make_unique<Transit>(context, peer, parcel, sends));
    }
  }
  while (!transits.empty()) {
    std::erase_if(transits, [&](const auto& transit) { return !transit->GoOn(options.timeout); });
    progress();
  }
  // No rank closes its connections before all have what they wait for.
  if (Count(context, true) < options.world) throw std::runtime_error("a rank did not finish");
  return true;
}

}  // namespace

absl::StatusOr<bool> ExchangeParcels(const GlooOptions& options, Rendezvous& rendezvous,
                                     Parcels& parcels, const std::function<void()>& progress) {
  if (options.world > 1) {
    try {
      if (!Exchange(options, rendezvous, parcels, progress)) return false;
    } catch (const std::exception& error) {
      return absl::UnavailableError(
          absl::StrCat("lanes between ", options.world, " workers: ", error.what()));
    }
  }
  parcels.in[options.rank] = std::move(parcels.out[options.rank]);
  return parcels.ready;
}

}  // namespace headlong
