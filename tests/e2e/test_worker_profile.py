"""What a worker says about its machine: measured, or as its flags state it."""
import json

from support.cluster import MODEL, wait_until


def test_flags_state_the_profile_and_placement_follows_it(sandbox):
    coordinator = sandbox.spawn("coordinator", "--model", MODEL, "--listen", "127.0.0.1:0",
                                "--worker-listen", "127.0.0.1:0", "--expected-workers", 2,
                                "--max-context", 1024, "--max-sequences", 1)
    coordinator.wait_for_output("workers at", 30)
    line = next(line for line in coordinator.out.splitlines() if "workers at" in line)
    client, workers = line.split("clients at ")[1].split(", workers at ")
    for name, bandwidth in (("fast", "4e10"), ("slow", "1e10")):
        sandbox.spawn("worker", "--coordinator", workers.strip(), "--id", name, "--model", MODEL,
                      "--device", "cpu", "--threads", 1, "--memory-limit", "256MiB",
                      "--profile-bandwidth", bandwidth, "--profile-flops", "1e15",
                      "--profile-flops-one-row", str(float(bandwidth) / 2))

    def status():
        return sandbox.run("cluster", "status", "--server", client, "-o", "json").code == 0

    wait_until(status, 60, "the cluster serves")
    listed = sandbox.run("workers", "list", "--server", client, "-o", "json").json()
    by_id = {worker["id"]: worker for worker in listed}
    assert by_id["fast"]["read_bytes_per_s"] == 4e10
    assert by_id["slow"]["matmul_flops_one_row"] == 5e9
    assert by_id["slow"]["matmul_flops"] == 1e15
    placement = sandbox.run("placement", "show", "--server", client, "-o", "json").json()
    columns = {worker["id"]: sum(worker["mlp_columns"]) for worker in placement["workers"]}
    assert 3.5 < columns["fast"] / columns["slow"] < 4.5, json.dumps(columns)


def test_measured_without_flags(sandbox):
    server = sandbox.serve("--workers", 2, "--max-context", 512, "--max-sequences", 1)
    for worker in server.workers().values():
        for field in ("read_bytes_per_s", "matmul_flops", "matmul_flops_one_row"):
            assert worker[field] > 1e6, field
