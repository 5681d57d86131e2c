#!/usr/bin/env python3
"""Writes the Grafana dashboard and the Prometheus alert rules of Headlong beside this script, the
rules also as the object that Prometheus' operator reads.

  python3 deploy/monitoring/make.py           # dashboard.json, alerts.yaml, prometheus-rule.yaml
  python3 deploy/monitoring/make.py --check   # exit code 1 where the files are not what it writes

Every expression names metrics that a coordinator or a worker exports (--metrics-listen of both);
tests/e2e/test_metrics.py holds them against live ones.
"""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
RATE = "[$__rate_interval]"
CERT_EXPIRY = "headlong_cert_expiry_timestamp_seconds"


def quantiles(metric):
    """(legend, expression) of the median and the tail of a histogram."""
    return [(f"p{percent}", f"histogram_quantile({percent / 100:g}, "
             f"sum by (le) (rate({metric}_bucket{RATE})))") for percent in (50, 95, 99)]


def rate(metric, by=""):
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{RATE}))"


# (title, unit, [(legend, expression)])
PANELS = [
    ("Tokens", "short", [("generated", rate("headlong_generation_tokens_total")),
                         ("computed, prompts and replays too",
                          rate("headlong_step_tokens_total"))]),
    ("Time to first token", "s", quantiles("headlong_time_to_first_token_seconds")),
    ("Between tokens", "s", quantiles("headlong_inter_token_latency_seconds")),
    ("Requests", "short", [("running", "headlong_requests_running"),
                           ("waiting", "headlong_requests_waiting")]),
    ("Time in the queue", "s", quantiles("headlong_request_queue_time_seconds")),
    ("Ended requests", "reqps", [("{{reason}}", rate("headlong_requests_finished_total",
                                                     "reason")),
                                 ("rejected: {{code}}", rate("headlong_requests_rejected_total",
                                                             "code"))]),
    ("Caches in use", "percentunit", [("all workers", "headlong_kv_cache_usage_ratio")]),
    ("Caches by worker", "bytes", [("{{worker}}", "headlong_worker_cache_used_bytes")]),
    ("Step", "s", [("mean", f"{rate('headlong_step_seconds_total')} / "
                    f"{rate('headlong_steps_total')}")]),
    ("Computing, share of time by worker", "percentunit",
     [("{{worker}}", rate("headlong_worker_compute_seconds_total", "worker"))]),
    ("Sums and waiting for others, by worker", "percentunit",
     [("{{worker}}", rate("headlong_worker_collective_seconds_total", "worker"))]),
    ("Step by worker and phase, p95", "s",
     [("{{worker}} {{phase}}", "histogram_quantile(0.95, sum by (le, worker, phase) "
       f"(rate(headlong_worker_step_seconds_bucket{RATE})))")]),
    ("Pages in use by worker and role", "percentunit",
     [("{{worker}} {{role}}", "headlong_kv_blocks_used / headlong_kv_blocks")]),
    ("Workers", "short", [("{{state}}", "headlong_workers")]),
    ("Epoch", "short", [("epoch", "headlong_placement_epoch"),
                        ("{{worker}}", "headlong_worker_epoch"),
                        ("recoveries", "headlong_recoveries_total")]),
    ("Faults, preemptions, moved bytes", "short",
     [("faults of {{worker}}", "sum by (worker) (increase(headlong_worker_faults_total[5m]))"),
      ("preemptions", rate("headlong_preemptions_total")),
      ("bytes of moved caches", rate("headlong_lane_transfer_bytes_total"))]),
    ("Connections of strangers that were cut", "short",
     [("{{port}} port", rate("headlong_connections_cut_total", "port"))]),
    ("Certificates, time left", "s",
     [("{{instance}} {{certificate}}",
       f"min by (instance, certificate) ({CERT_EXPIRY}) - time()")]),
]

# (name, expression, for, severity, what it means and what to do)
ALERTS = [
    ("HeadlongNotServing", "headlong_serving == 0", "1m", "critical",
     "No request is computed. `headlong cluster status` says why."),
    ("HeadlongWorkerMissing",
     'headlong_workers_expected - on (instance) sum by (instance) '
     '(headlong_workers{state=~"ready|loading|drained"}) > 0', "30s", "warning",
     "Fewer workers than the cluster was started for. `headlong workers list` names the lost."),
    ("HeadlongEpochFlapping", "changes(headlong_placement_epoch[10m]) > 5", "0m", "warning",
     "Placements change again and again, each a pause of all streams: a worker comes and goes."),
    ("HeadlongCacheFull", "headlong_kv_cache_usage_ratio > 0.95", "5m", "warning",
     "Requests wait or are preempted: fewer sequences, a plan that keeps less, or more memory."),
    ("HeadlongPagesFull",
     'max by (worker) (headlong_kv_blocks_used{role="retrieval"} / '
     'headlong_kv_blocks{role="retrieval"}) > 0.95', "5m", "warning",
     "A worker's pages of retrieval heads are used up: sequences are preempted though others have "
     "room. `headlong placement plan` shows another placement."),
    ("HeadlongWorkerFaults", "sum by (worker) (increase(headlong_worker_faults_total[10m])) > 3",
     "0m", "warning",
     "A worker cannot begin epochs or go on with them, again and again: its log says why."),
    ("HeadlongQueueGrows", "headlong_requests_waiting > 100", "5m", "warning",
     "Requests come faster than they are answered."),
    ("HeadlongRejects",
     'sum by (instance) (rate(headlong_requests_rejected_total{code="RESOURCE_EXHAUSTED"}[5m])) '
     "> 0.1", "5m", "warning", "The queue is full: clients are told to come back."),
    ("HeadlongRequestsFail",
     'sum by (instance) (rate(headlong_requests_finished_total{reason="error"}[5m])) > 0.01 * '
     "sum by (instance) (rate(headlong_requests_finished_total[5m]))", "5m", "critical",
     "More than one request in a hundred ends with an error."),
    ("HeadlongStraggler",
     "max by (instance) (rate(headlong_worker_compute_seconds_total[5m])) > 1.5 * "
     "avg by (instance) (rate(headlong_worker_compute_seconds_total[5m]))", "10m", "warning",
     "One worker computes half as long again as the others, who wait for it: `headlong placement "
     "plan` shows what another placement would bring."),
    ("HeadlongCertificateEnds", f"min by (instance, certificate) ({CERT_EXPIRY}) - time() < 604800",
     "0m", "warning",
     "A certificate ends within a week: renew it, or take an old authority out of its file. "
     "Pods and services read renewed files without a restart."),
]


def panel(index, title, unit, queries):
    return {
        "id": index + 1,
        "title": title,
        "type": "timeseries",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"h": 8, "w": 8, "x": index % 3 * 8, "y": index // 3 * 8},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [{"refId": chr(ord("A") + i), "expr": expression, "legendFormat": legend}
                    for i, (legend, expression) in enumerate(queries)],
    }


def dashboard():
    return json.dumps({
        "uid": "headlong",
        "title": "Headlong",
        "tags": ["headlong"],
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "10s",
        "templating": {"list": [{"name": "datasource", "type": "datasource",
                                 "query": "prometheus"}]},
        "panels": [panel(i, *entry) for i, entry in enumerate(PANELS)],
    }, indent=1) + "\n"


def alerts():
    lines = ["groups:", "  - name: headlong", "    rules:"]
    for name, expression, lasting, severity, text in ALERTS:
        lines += [f"      - alert: {name}",
                  f"        expr: {json.dumps(expression)}",
                  f"        for: {lasting}",
                  f"        labels: {{severity: {severity}}}",
                  f"        annotations: {{summary: {json.dumps(text)}}}"]
    return lines


def files():
    """{name: text}"""
    rule = ["# Made by make.py.", "apiVersion: monitoring.coreos.com/v1", "kind: PrometheusRule",
            "metadata:", "  name: headlong", "spec:", *(f"  {line}" for line in alerts())]
    return {"dashboard.json": dashboard(),
            "alerts.yaml": "\n".join(["# Made by make.py.", *alerts()]) + "\n",
            "prometheus-rule.yaml": "\n".join(rule) + "\n"}


def main():
    stale = []
    for name, text in files().items():
        path = HERE / name
        if "--check" not in sys.argv[1:]:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(name)
    if stale:
        sys.exit(f"{', '.join(stale)}: not what deploy/monitoring/make.py writes; run it")


if __name__ == "__main__":
    main()
