// Messages between ranks that whoever calls writes to and reads from the connection itself. Gloo's
// own collectives announce each message and hand it to a thread of Gloo's: where few numbers are
// summed, ranks would wait for threads to wake up, and for little else. Included only where Gloo is
// called. Gloo throws: callers catch.
#pragma once

#include <gloo/rendezvous/context.h>

#include <cstdint>
#include <memory>

#include "worker/collective.h"

namespace headlong {

class GlooMessages {
 public:
  // Bytes to a rank that reads nothing yet, because it is sending too, after which Send() still
  // returns. What the system keeps of a connection is more, and its first window twice as much.
  static constexpr int64_t kMostUnread = 32 << 10;

  // Connects all ranks; returns when all are ready. Operations then take at most options.timeout.
  GlooMessages(const GlooOptions& options, Rendezvous& rendezvous);

  // Waits until the connection has taken all bytes.
  void Send(int rank, void* message, int64_t bytes);
  // Waits for the next message of `rank`, which must have so many bytes.
  void Receive(int rank, void* message, int64_t bytes);

 private:
  const std::shared_ptr<gloo::rendezvous::Context> context_;
};

}  // namespace headlong
