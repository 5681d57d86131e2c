"""What probes see: startup, liveness and readiness of a coordinator and of a worker."""
import signal

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.cluster import MODEL, free_port, wait_until


def check(address, service):
    """The status's name, or the code of the refusal."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=5)
        except grpc.RpcError as error:
            return error.code().name
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def statuses(address):
    return [check(address, service) for service in ("startup", "liveness", "readiness")]


@pytest.fixture
def roles(sandbox):
    """A coordinator that waits for two workers, and the first of them."""
    health = {role: f"127.0.0.1:{free_port()}" for role in ("coordinator", "w0")}
    coordinator = sandbox.spawn(
        "coordinator", "--model", MODEL, "--expected-workers", "2", "--max-context", "512",
        "--listen", "127.0.0.1:0", "--worker-listen", "127.0.0.1:0",
        "--health-listen", health["coordinator"])
    coordinator.wait_for_output("\n", 30)
    address = coordinator.out.split()[-1]

    def start_worker(name, *options):
        return sandbox.spawn("worker", "--model", MODEL, "--id", name, "--coordinator", address,
                             "--threads", "1", "--device", "cpu", *options)

    worker = start_worker("w0", "--health-listen", health["w0"])
    return coordinator, worker, start_worker, health


def test_ready_is_who_computes(roles):
    coordinator, worker, start_worker, health = roles
    wait_until(lambda: statuses(health["w0"])[0] == "SERVING", 30, "the worker's start")
    for role in health.values():
        assert statuses(role) == ["SERVING", "SERVING", "NOT_SERVING"], "one worker is missing"
    second = start_worker("w1")
    for role in health.values():
        wait_until(lambda: statuses(role)[2] == "SERVING", 30, "ready")
        assert check(role, "") == "SERVING"
        assert check(role, "headlong.v1.Admin") == "NOT_FOUND"
    second.signal(signal.SIGSTOP)  # the cluster waits for it: nobody is ready, all are alive
    wait_until(lambda: statuses(health["coordinator"])[2] == "NOT_SERVING", 30, "the loss")
    assert statuses(health["coordinator"])[1] == statuses(health["w0"])[1] == "SERVING"
    second.signal(signal.SIGCONT)


def test_a_worker_without_its_coordinator_is_alive_but_not_ready(roles):
    coordinator, worker, start_worker, health = roles
    start_worker("w1")
    wait_until(lambda: statuses(health["w0"])[2] == "SERVING", 60, "ready")
    coordinator.signal(signal.SIGKILL)
    wait_until(lambda: statuses(health["w0"])[2] == "NOT_SERVING", 30, "the loss")
    assert statuses(health["w0"])[:2] == ["SERVING", "SERVING"]


def test_nothing_but_health_is_answered_there(roles):
    from headlong.v1 import admin_pb2, admin_pb2_grpc

    with grpc.insecure_channel(roles[3]["coordinator"]) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            admin_pb2_grpc.AdminStub(channel).GetCluster(admin_pb2.GetClusterRequest(), timeout=5)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_port_in_use_is_named(roles, sandbox):
    for role in ("coordinator", "worker"):
        more = ["--listen", "127.0.0.1:0", "--worker-listen", "127.0.0.1:0"] if (
            role == "coordinator") else ["--id", "w7", "--device", "cpu"]
        refused = sandbox.run(role, "--model", MODEL, "--health-listen", roles[3]["w0"], *more)
        assert refused.code in (1, 5) and "--health-listen" in refused.err
