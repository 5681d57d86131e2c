"""HTTP/2 by hand, for what no decent client would send: frames and header blocks over TLS."""
import socket
import ssl

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, CONTINUATION = 0, 1, 3, 4, 7, 9
END_STREAM, END_HEADERS = 1, 4
FRAME_BYTES = 16384  # the most that a peer must take


def frame(kind, flags, stream, payload=b""):
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def integer(value, prefix_bits, first=0):
    """RFC 7541, 5.1."""
    most = (1 << prefix_bits) - 1
    if value < most:
        return bytes([first | value])
    encoded = bytearray([first | most])
    value -= most
    while value >= 128:
        encoded.append(value % 128 + 128)
        value //= 128
    encoded.append(value)
    return bytes(encoded)


def header(name, value):
    """A literal that neither side remembers (RFC 7541, 6.2.2)."""
    name, value = name.encode(), value.encode()
    return b"\0" + integer(len(name), 7) + name + integer(len(value), 7) + value


def request_headers(path):
    return b"".join(header(name, value) for name, value in [
        (":method", "POST"), (":scheme", "https"), (":path", path), (":authority", "localhost"),
        ("content-type", "application/grpc"), ("te", "trailers")])


def header_frames(stream, block):
    """The block in as many frames as it takes."""
    parts = [block[i:i + FRAME_BYTES] for i in range(0, len(block), FRAME_BYTES)]
    for i, part in enumerate(parts):
        flags = END_HEADERS if i == len(parts) - 1 else 0
        yield frame(CONTINUATION if i else HEADERS, flags, stream, part)


class Connection:
    """One connection over TLS. `closed` once the other end hung up."""

    def __init__(self, address, authority, timeout=10):
        context = ssl.create_default_context(cafile=str(authority))
        context.set_alpn_protocols(["h2"])
        host, port = address.rsplit(":", 1)
        self._socket = context.wrap_socket(
            socket.create_connection((host, int(port)), timeout=timeout), server_hostname=host)
        self.closed = False
        self.send(PREFACE + frame(SETTINGS, 0, 0))

    def send(self, octets):
        """False once the other end takes nothing more."""
        try:
            self._socket.sendall(octets)
        except OSError:
            self.closed = True
        return not self.closed

    def frames(self, seconds):
        """(kind, stream, payload) of what comes until so long nothing came, or the end."""
        self._socket.settimeout(seconds)
        try:
            while True:
                head = self._read(9)
                kind, stream = head[3], int.from_bytes(head[5:9], "big") & 0x7fffffff
                yield kind, stream, self._read(int.from_bytes(head[:3], "big"))
        except TimeoutError:
            return
        except (OSError, EOFError):
            self.closed = True

    def _read(self, count):
        got = b""
        while len(got) < count:
            part = self._socket.recv(count - len(got))
            if not part:
                raise EOFError
            got += part
        return got

    def close(self):
        self._socket.close()
