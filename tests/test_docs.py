"""What the texts claim about the tree: links, pictures, commands."""
import json
import re
import subprocess
import sys

import pytest

from support.cluster import ROOT

TEXTS = sorted(path.relative_to(ROOT).as_posix() for path in [
    *ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("bench/*.md"),
    *ROOT.glob("docs/*.md")])


@pytest.mark.parametrize("text", TEXTS)
def test_links_lead_somewhere(text):
    path = ROOT / text
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), target


def test_picture_is_what_its_script_draws():
    drawn = subprocess.run([sys.executable, ROOT / "docs" / "cluster_picture.py"], check=True,
                           capture_output=True).stdout
    assert (ROOT / "docs" / "cluster.svg").read_bytes() == drawn, \
        "run: python3 docs/cluster_picture.py > docs/cluster.svg"


def test_readme_names_every_dev_command():
    usage = subprocess.run([ROOT / "dev", "help"], check=True, capture_output=True, text=True)
    commands = re.findall(r"^  (\w+)", usage.stdout, re.MULTILINE)
    assert {"setup", "build", "demo", "test", "bench", "fmt"} <= set(commands)
    readme = (ROOT / "README.md").read_text()
    for command in commands:
        assert re.search(rf"`{command}\b", readme), command
    mistaken = subprocess.run([ROOT / "dev", "frobnicate"], capture_output=True, text=True)
    assert mistaken.returncode == 1 and "frobnicate" in mistaken.stderr


def test_readme_example_plan_is_the_models():
    example = re.search(r"```json\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    plan = (ROOT / "models" / "needle-10m" / "plan.json").read_text()
    assert json.loads(example) == json.loads(plan)
