"""A coordinator and workers that are started one by one, as on separate machines."""
from support.cluster import MODEL, START_SECONDS, free_port, wait_until


class Roles:
    """A coordinator and its workers, each started alone on fixed loopback ports. `worker_options`:
    of all workers, or a function of a worker's number."""

    def __init__(self, sandbox, workers, timeout, coordinator_options=(), worker_options=()):
        self.sandbox, self.timeout = sandbox, timeout
        self.coordinator_options, self.worker_options = coordinator_options, worker_options
        self.clients = f"127.0.0.1:{free_port()}"
        self.links = f"127.0.0.1:{free_port()}"
        self.count = workers
        self.coordinator = self.start_coordinator()
        self.workers = [self.start_worker(i) for i in range(workers)]
        self.wait_until_serving()

    def start_coordinator(self):
        return self.sandbox.spawn("coordinator", "--model", MODEL, "--listen", self.clients,
                                  "--worker-listen", self.links, "--expected-workers", self.count,
                                  "--dtype", "fp32", *self.coordinator_options)

    def start_worker(self, i):
        options = self.worker_options(i) if callable(self.worker_options) else self.worker_options
        return self.sandbox.spawn("worker", "--coordinator", self.links, "--id", f"alone-{i}",
                                  "--model", MODEL, "--coordinator-timeout", self.timeout,
                                  "--memory-limit", "1GiB", "--threads", 1, *options)

    def wait_until_serving(self):
        def serving():
            return self.sandbox.run("cluster", "status", "--server", self.clients).code == 0

        wait_until(serving, START_SECONDS, "the roles to serve")
