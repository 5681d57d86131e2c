// Dialling a server step by step, to tell one failure from another where gRPC says "unavailable":
// its name, its port, what speaks there, its certificate. Nothing is sent that a server would
// answer with content. Blocking, with a limit of a few seconds each.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/tls.h"

namespace headlong {

struct HostPort {
  std::string host;  // without brackets
  std::string port;
};
// REQUIRES: an address that CheckAddress takes.
HostPort SplitAddress(const std::string& address);

// The numeric addresses of a host. NOT_FOUND with the system's reason.
absl::StatusOr<std::vector<std::string>> Resolve(const HostPort& at);

// A TCP connection. UNAVAILABLE: nothing listens; DEADLINE_EXCEEDED: no answer at all; NOT_FOUND as
// Resolve.
class Connection {
 public:
  static absl::StatusOr<Connection> Open(const HostPort& at);
  Connection(Connection&& other) noexcept;
  ~Connection();
  int fd() const { return fd_; }
  void Send(std::string_view bytes) const;
  // What comes within the limit, at most so many bytes; empty: it was closed, or silent.
  std::string Receive(size_t bytes) const;

 private:
  explicit Connection(int fd) : fd_(fd) {}
  int fd_;
};

enum class Protocol {
  kHttp2,  // without TLS: what gRPC speaks
  kTls,
  kHttp1,   // a web server, or a port of metrics
  kOther,   // something that answers otherwise
  kSilent,  // takes the connection, says nothing
};
// What answers there. Opens connections of its own.
absl::StatusOr<Protocol> ProbeProtocol(const HostPort& at);

// One TLS handshake.
struct Handshake {
  bool completed = false;
  bool asks_certificate = false;  // the server wants to see one of this end
  std::string verify_error;       // why the certificate is not to be trusted; empty: it is
  bool expired = false, not_yet_valid = false, unknown_issuer = false, wrong_name = false;
  std::string failure;  // of the handshake itself, e.g. the server wants a certificate
  std::string subject, issuer, not_before, not_after;
  std::vector<std::string> names;  // of the server's certificate: "DNS:...", "IP Address:..."
  double days_left = 0;
};
// Checks the server's certificate against `files.ca`, else the system's authorities, and against
// the host. Shows files.cert where there is one.
absl::StatusOr<Handshake> ShakeHands(const HostPort& at, const TlsFiles& files);

}  // namespace headlong
