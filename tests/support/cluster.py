"""The real binary under test: one-shot commands, servers, and proof that nothing is left behind.

A Sandbox marks the environment of everything it starts. Workers inherit the mark from the servers
that start them, so closing a sandbox finds whatever outlived its parent, and fails.
"""
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time
import uuid

import grpc

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("HEADLONG_BINARY", ROOT / "build" / "headlong"))
MODEL = ROOT / "models" / "needle-10m"
GOLDEN = ROOT / "tests" / "golden"

MARK = "HEADLONG_TEST_MARK"
START_SECONDS = 60


def wait_until(condition, seconds, what):
    """Returns the first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.05)


def is_alive(pid):
    """False also for a process that ended and was not waited for."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in "ZX"


class Result:
    """What a command left: exit code, both outputs, and how long it took."""

    def __init__(self, code, out, err, seconds):
        self.code, self.seconds = code, seconds
        self.out = out.decode(errors="replace")
        self.err = err.decode(errors="replace")

    def json(self):
        assert self.code == 0, f"exit code {self.code}: {self.err}"
        return json.loads(self.out)

    def __repr__(self):
        return (f"exit code {self.code} in {self.seconds:.1f} s\n"
                f"{self.out[-2000:]}\n{self.err[-2000:]}")


class Sandbox:
    """Starts processes of one test (or module) in a folder, and answers for their end."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.mark = uuid.uuid4().hex
        self._processes = []

    def _popen(self, args, launcher=(), **streams):
        environment = dict(os.environ, **{MARK: self.mark})
        for name in ("SERVER", "CONTEXT", "TLS_CA", "TOKEN_FILE"):
            environment.pop(f"HEADLONG_{name}", None)
        environment["HEADLONG_CONFIG"] = str(self.folder / "config.json")  # not the tester's own
        process = subprocess.Popen([*launcher, str(BINARY), *map(str, args)], cwd=self.folder,
                                   env=environment, **streams)
        self._processes.append(process)
        return process

    def run(self, *args, timeout=60, stdin=b""):
        begin = time.monotonic()
        process = self._popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"headlong {args} still ran after {timeout} s: {err[-2000:]}")
        return Result(process.returncode, out, err, time.monotonic() - begin)

    def spawn(self, *args, launcher=()):
        """Starts a command whose outputs go to files; see Process. `launcher` runs it."""
        return Process(self, args, launcher)

    def serve(self, *args, model=MODEL):
        return Server(self, ["--model", model, *args])

    def left_running(self):
        needle = f"{MARK}={self.mark}".encode()
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or not is_alive(entry.name):
                continue
            try:
                if needle in (entry / "environ").read_bytes().split(b"\0"):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found.append((int(entry.name), command))
            except OSError:
                continue  # it ended meanwhile, or is another user's
        return found

    def assert_nothing_left(self, seconds=5):
        deadline = time.monotonic() + seconds
        while left := self.left_running():
            if time.monotonic() > deadline:
                for pid, _ in left:
                    os.kill(pid, signal.SIGKILL)
                raise AssertionError(f"left running: {left}")
            time.sleep(0.05)

    def close(self):
        """Ends what a test did not end itself, politely, then checks that nothing is left."""
        running = [process for process in self._processes if process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in running:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError(f"{process.args} did not end within 15 s of SIGTERM")
        self.assert_nothing_left()


class Process:
    """A command in the background; `out` and `err` read what it wrote so far."""

    def __init__(self, sandbox, args, launcher=()):
        name = sandbox.folder / f"{args[0]}-{uuid.uuid4().hex[:6]}"
        self._out, self._err = name.with_suffix(".out"), name.with_suffix(".err")
        with open(self._out, "wb") as out, open(self._err, "wb") as err:
            self.popen = sandbox._popen(args, launcher, stdin=subprocess.DEVNULL, stdout=out,
                                        stderr=err)

    @property
    def pid(self):
        return self.popen.pid

    @property
    def out(self):
        return self._out.read_text(errors="replace")

    @property
    def err(self):
        return self._err.read_text(errors="replace")

    def signal(self, number):
        self.popen.send_signal(number)

    def wait(self, seconds):
        """The exit code; fails when there is none in time."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.popen.args} still runs after {seconds} s: {self.err}")

    def wait_for_output(self, text, seconds):
        def written():
            assert self.popen.poll() is None, f"ended with {self.popen.returncode}: {self.err}"
            return text in self.out

        wait_until(written, seconds, f"{text!r} from {self.popen.args}")


class Server(Process):
    """A `headlong serve` that is ready; commands and gRPC calls go to its free port."""

    def __init__(self, sandbox, args):
        super().__init__(sandbox, ["serve", "--listen", "127.0.0.1:0", "-o", "json", *args])
        self.sandbox = sandbox
        self.wait_for_output("\n", START_SECONDS)
        ready = json.loads(self.out)
        self.address = ready["address"]
        self.channel = connect(self.address)

    def run(self, *args, **options):
        return self.sandbox.run(*args, "--server", self.address, **options)

    def json(self, *args, **options):
        return self.run(*args, "-o", "json", **options).json()

    def workers(self):
        return {worker["id"]: worker for worker in self.json("workers", "list")}

    def stop(self, number=signal.SIGTERM, seconds=15):
        self.channel.close()
        self.signal(number)
        return self.wait(seconds)


def free_port():
    """A port that was free a moment ago, where a command cannot say which it took."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(address):
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    return grpc.insecure_channel(address, options=options)


def disturbed_requests(tokens):
    """Requests to go on through deaths and moves: short and long prompts, greedy and sampled."""
    long_prompt = json.loads((GOLDEN / "needle-10m.transformers.json").read_text())[4]
    return [
        dict(text="Once upon a time", temperature=0, max_tokens=tokens, ignore_eos=True),
        dict(prompt_ids=long_prompt["prompt_ids"], temperature=0, max_tokens=tokens * 5 // 6,
             ignore_eos=True),
        dict(text="The treasure was buried", temperature=0.9, top_p=0.95, seed=5,
             max_tokens=tokens, ignore_eos=True),
    ]


class Stream:
    """One Generate call, read by a thread of its own. Checks what must hold of every stream."""

    def __init__(self, channel, timeout=120, **fields):
        from headlong.v1 import inference_pb2, inference_pb2_grpc

        prompt_ids = fields.pop("prompt_ids", None)
        request = inference_pb2.GenerateRequest(**fields)
        if prompt_ids is not None:
            request.token_ids.ids.extend(prompt_ids)
        self.tokens, self.text = list(request.resume_token_ids), ""
        self.accepted = self.finished = self.error = None
        self._changed = threading.Condition()
        self._call = inference_pb2_grpc.InferenceStub(channel).Generate(request, timeout=timeout)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        try:
            for response in self._call:
                with self._changed:
                    self._take(response)
                    self._changed.notify_all()
        except (grpc.RpcError, AssertionError) as error:
            self.error = error
        with self._changed:
            self._changed.notify_all()

    def _take(self, response):
        event = response.WhichOneof("event")
        assert self.finished is None, f"{event} after the end"
        assert (event == "accepted") == (self.accepted is None), "accepted comes first, once"
        if event == "accepted":
            self.accepted = response
        elif event == "chunk":
            assert response.chunk.index == len(self.tokens), "a token was lost or repeated"
            self.tokens.extend(response.chunk.token_ids)
            self.text += response.chunk.text
        elif event == "finished":
            self.finished = response.finished
            self.text += response.finished.text

    def cancel(self):
        self._call.cancel()

    def wait_for_tokens(self, count, seconds=60):
        with self._changed:
            enough = self._changed.wait_for(
                lambda: len(self.tokens) >= count or not self._thread.is_alive() or self.error,
                seconds)
        assert enough and len(self.tokens) >= count, (
            f"{len(self.tokens)} of {count} tokens: {self.error}")

    def result(self, seconds=120):
        """The tokens of a stream that ended well."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"no end after {len(self.tokens)} tokens"
        if self.error:
            raise self.error
        assert self.finished is not None, "the stream ended without `finished`"
        return self.tokens
