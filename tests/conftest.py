"""Fixtures of the tests that start the binary, and the gRPC stubs they call it with."""
import concurrent.futures
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

from support.cluster import BINARY, ROOT, Sandbox

_stubs = None


def pytest_configure(config):
    """Stubs come from proto/ as any client's do, anew for every run."""
    global _stubs
    # A job in the background of a script ignores SIGINT, and so would what it starts, until its
    # handler stands. A signal that is handled here has its default action there.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _stubs = pathlib.Path(tempfile.mkdtemp(prefix="headlong-stubs-"))
    protos = sorted(str(path) for path in (ROOT / "proto").rglob("*.proto"))
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}",
         f"--python_out={_stubs}", f"--grpc_python_out={_stubs}", *protos], check=True)
    sys.path.insert(0, str(_stubs))


def pytest_unconfigure(config):
    if _stubs:
        shutil.rmtree(_stubs, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def binary(request):
    needs_it = any("sandbox" in item.fixturenames or "server" in item.fixturenames
                   for item in request.session.items)
    if needs_it and not BINARY.is_file():
        pytest.exit(f"{BINARY} is not there: ./dev build makes it", returncode=1)
    return BINARY


@pytest.fixture
def sandbox(tmp_path):
    """Starts processes; fails the test when one of them is left at its end."""
    box = Sandbox(tmp_path)
    yield box
    box.close()


@pytest.fixture
def run_in_thread():
    """run(function, *args) begins it; calling what comes back waits so many seconds for its result,
    and raises what it raised."""
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        yield lambda function, *args: pool.submit(function, *args).result


@pytest.fixture(scope="module")
def module_sandbox(tmp_path_factory):
    box = Sandbox(tmp_path_factory.mktemp("module"))
    yield box
    box.close()


@pytest.fixture(scope="module")
def server(module_sandbox):
    """Two workers with the model's own plan, shared by the tests of a module."""
    return module_sandbox.serve("--workers", 2, "--dtype", "fp32")
