#include "worker/gloo_messages.h"

#include <gloo/transport/buffer.h>
#include <gloo/transport/pair.h>

#include "worker/gloo_context.h"

namespace headlong {
namespace {

constexpr int kSlot = 0;  // messages of a connection come in order: one is enough

// Connections keep the time that their context had when they were made.
GlooOptions PatientlyConnecting(GlooOptions options) {
  options.connect_timeout = options.timeout;
  return options;
}

}  // namespace

GlooMessages::GlooMessages(const GlooOptions& options, Rendezvous& rendezvous)
    : context_(ConnectMesh(PatientlyConnecting(options), "messages/", rendezvous)) {
  for (int rank = 0; rank < options.world; ++rank) {
    if (rank != options.rank) context_->getPair(rank)->setSync(true, /*busyPoll=*/false);
  }
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
