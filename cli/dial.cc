#include "cli/dial.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr int kPatienceMs = 3000;

// RFC 9113, section 3.4, and an empty SETTINGS frame; a server answers with its own SETTINGS.
constexpr std::string_view kHttp2Preface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);
constexpr char kSettingsFrame = 4;

struct Addresses {
  ~Addresses() {
    if (first != nullptr) freeaddrinfo(first);
  }
  addrinfo* first = nullptr;
};

absl::Status Look(const HostPort& at, Addresses& out) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  const int error = getaddrinfo(at.host.c_str(), at.port.c_str(), &hints, &out.first);
  if (error == 0) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(
      "the host ", at.host,
      " is not known: ", error == EAI_SYSTEM ? std::strerror(errno) : gai_strerror(error)));
}

bool Ready(int fd, short events) {
  pollfd waiting{fd, events, 0};
  return poll(&waiting, 1, kPatienceMs) == 1;
}

absl::Status Refused(const HostPort& at, int error) {
  if (error == ECONNREFUSED) {
    return absl::UnavailableError(
        absl::StrCat("nothing listens on port ", at.port, " of ", at.host));
  }
  return absl::UnavailableError(
      absl::StrCat("no way to ", at.host, ":", at.port, ": ", std::strerror(error)));
}

// A socket that is connected, or why not.
absl::StatusOr<int> ConnectTo(const HostPort& at, const addrinfo& address) {
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return Refused(at, errno);
  int error = connect(fd, address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno;
  if (error == EINPROGRESS) {
    socklen_t size = sizeof(error);
    if (!Ready(fd, POLLOUT)) {
      error = ETIMEDOUT;
    } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
      error = errno;
    }
  }
  if (error == 0) return fd;
  close(fd);
  if (error != ETIMEDOUT) return Refused(at, error);
  return absl::DeadlineExceededError(
      absl::StrCat(at.host, ":", at.port, " does not answer within ", kPatienceMs / 1000, " s"));
}

}  // namespace

HostPort SplitAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  HostPort at{address.substr(0, colon), address.substr(colon + 1)};
  if (at.host.size() > 1 && at.host.front() == '[' && at.host.back() == ']') {
    at.host = at.host.substr(1, at.host.size() - 2);
  }
  return at;
}

absl::StatusOr<std::vector<std::string>> Resolve(const HostPort& at) {
  Addresses addresses;
  RETURN_IF_ERROR(Look(at, addresses));
  std::vector<std::string> found;
  for (const addrinfo* each = addresses.first; each != nullptr; each = each->ai_next) {
    char text[NI_MAXHOST] = "";
    getnameinfo(each->ai_addr, each->ai_addrlen, text, sizeof(text), nullptr, 0, NI_NUMERICHOST);
    found.emplace_back(text);
  }
  return found;
}

absl::StatusOr<Connection> Connection::Open(const HostPort& at) {
  Addresses addresses;
  RETURN_IF_ERROR(Look(at, addresses));
  absl::Status last = absl::NotFoundError("no address");
  for (const addrinfo* each = addresses.first; each != nullptr; each = each->ai_next) {
    const absl::StatusOr<int> fd = headlong::ConnectTo(at, *each);
    if (fd.ok()) return Connection(*fd);
    last = fd.status();
  }
  return last;
}

Connection::Connection(Connection&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

Connection::~Connection() {
  if (fd_ >= 0) close(fd_);
}

void Connection::Send(std::string_view bytes) const {
  // A few bytes into an empty buffer: they fit, or the other end is gone, which reading shows.
  if (send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) return;
}

std::string Connection::Receive(size_t bytes) const {
  std::string text;
  while (text.size() < bytes && Ready(fd_, POLLIN)) {
    char buffer[256];
    const ssize_t got = recv(fd_, buffer, std::min(sizeof(buffer), bytes - text.size()), 0);
    if (got <= 0) break;
    text.append(buffer, static_cast<size_t>(got));
  }
  return text;
}

absl::StatusOr<Protocol> ProbeProtocol(const HostPort& at) {
  std::string plain;
  {
    ASSIGN_OR_RETURN(const Connection connection, Connection::Open(at));
    connection.Send(kHttp2Preface);
    plain = connection.Receive(9);  // the header of a frame
  }
  if (plain.size() >= 4 && plain[3] == kSettingsFrame) return Protocol::kHttp2;
  // Some answer what they do not understand with a page alone.
  if (absl::StartsWith(plain, "HTTP/1") || absl::StartsWith(plain, "<")) return Protocol::kHttp1;
  ASSIGN_OR_RETURN(const Handshake handshake, ShakeHands(at, {}));
  // A server that asks for a certificate shows its own before.
  if (handshake.completed || !handshake.issuer.empty()) return Protocol::kTls;
  return plain.empty() ? Protocol::kSilent : Protocol::kOther;
}

}  // namespace headlong
