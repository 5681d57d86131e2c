"""What the cache per head keeps and what it loses: a fact in a long text is still found.

The small trial runs with every test command; the lengths and counts that figures are quoted for are
marked slow (`./dev bench needle` prints the same).
"""
import pytest

from support.cluster import MODEL

# length: (trials, least recall with the plan, most cache of full with the plan)
FULL_SIZE = {4096: (40, 0.95, 0.20), 8192: (40, 0.95, 0.12), 16384: (40, 0.95, 0.11),
             30720: (10, 0.90, 0.09)}


def needle(sandbox, length, trials, plan=None, timeout=170):
    chosen = ["--plan", plan] if plan else []
    report = sandbox.run("bench", "needle", "--model", MODEL, "--lengths", length, "--trials",
                         trials, *chosen, "-o", "json", timeout=timeout).json()
    key = str(length)
    assert sum(row["trials"] for row in report["rows"]) == trials
    correct = sum(row["correct"] for row in report["rows"])
    assert report["recall"][key] == pytest.approx(correct / trials)
    return correct, report["cache_bytes"][key] / report["full_cache_bytes"][key]


def test_plan_finds_what_the_full_cache_finds(sandbox):
    full, full_share = needle(sandbox, 4096, 4, "full")
    planned, planned_share = needle(sandbox, 4096, 4)
    local, local_share = needle(sandbox, 4096, 4, "local")
    assert (full, planned, local) == (4, 4, 0)
    assert full_share == 1
    assert local_share < planned_share < 0.20


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("length", FULL_SIZE)
def test_recall_at_full_size(sandbox, length):
    trials, least_recall, most_cache = FULL_SIZE[length]
    full, _ = needle(sandbox, length, trials, "full", timeout=1800)
    planned, share = needle(sandbox, length, trials, timeout=900)
    local, _ = needle(sandbox, length, trials, "local", timeout=900)
    assert planned >= least_recall * trials
    assert planned >= full - 1
    assert local <= 2
    assert share < most_cache
