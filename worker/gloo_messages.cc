#include "worker/gloo_messages.h"

#include <gloo/transport/buffer.h>
#include <gloo/transport/pair.h>

#include <stdexcept>

#include "common/status.h"
#include "worker/gloo_context.h"

namespace headlong {
namespace {

constexpr int kSlot = 0;  // messages of a connection come in order: one is enough

// What comes before a connection is read by its caller, Gloo's thread takes, and nobody gets.
absl::Status WaitUntilAllAreReady(const GlooOptions& options, Rendezvous& rendezvous) {
  RETURN_IF_ERROR(rendezvous.Put(absl::StrCat("messages/ready/", options.rank), ""));
  for (int rank = 0; rank < options.world; ++rank) {
    RETURN_IF_ERROR(
        rendezvous.Get(absl::StrCat("messages/ready/", rank), options.connect_timeout).status());
  }
  return absl::OkStatus();
}

}  // namespace

GlooMessages::GlooMessages(const GlooOptions& options, Rendezvous& rendezvous)
    : context_(ConnectMesh(options, "messages/", rendezvous)) {
  for (int rank = 0; rank < options.world; ++rank) {
    if (rank != options.rank) context_->getPair(rank)->setSync(true, /*busyPoll=*/false);
  }
  const absl::Status ready = WaitUntilAllAreReady(options, rendezvous);
  if (!ready.ok()) throw std::runtime_error(std::string(ready.message()));
}

void GlooMessages::Send(int rank, void* message, int64_t bytes) {
  const auto buffer = context_->getPair(rank)->createSendBuffer(kSlot, message, bytes);
  buffer->send();
  buffer->waitSend();
}

void GlooMessages::Receive(int rank, void* message, int64_t bytes) {
  context_->getPair(rank)->createRecvBuffer(kSlot, message, bytes)->waitRecv();
}

}  // namespace headlong
