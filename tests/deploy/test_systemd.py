"""The systemd units: systemd takes them, their flags are the program's, and nothing is killed while
it drains."""
import re
import shlex
import shutil
import subprocess

import pytest

from support.cluster import BINARY, ROOT

SYSTEMD = ROOT / "deploy" / "systemd"
UNITS = {"coordinator": SYSTEMD / "headlong-coordinator.service",
         "worker": SYSTEMD / "headlong-worker@.service"}
TEARDOWN_SECONDS = 15
EXPOSURE = 2.5  # of 10, as `systemd-analyze security` counts; "OK" begins at 5

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None,
                                   reason="systemd-analyze (Debian's systemd) is not installed")


def settings(unit):
    """{name: last value} with continued lines joined."""
    text = unit.read_text().replace("\\\n", " ")
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.M))


def command(unit):
    return shlex.split(settings(unit)["ExecStart"])


@pytest.fixture
def installed(tmp_path):
    """The units as they would be installed, with the program where it is here."""
    for unit in UNITS.values():
        text = unit.read_text().replace("/usr/bin/headlong", str(BINARY))
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def analyze(*args, **options):
    return subprocess.run(["systemd-analyze", *map(str, args)], capture_output=True, text=True,
                          **options)


@needs_systemd
@pytest.mark.parametrize("role", UNITS)
def test_systemd_takes_them(installed, role):
    path = installed / UNITS[role].name.replace("@", "@0")
    if role == "worker":
        (installed / UNITS[role].name).rename(path)
    done = analyze("verify", "--man=no", "--recursive-errors=no", path)
    ours = [line for line in done.stderr.splitlines() if "headlong" in line]
    assert done.returncode == 0 and not ours, done.stderr


@needs_systemd
def test_a_mistake_is_found(installed):
    path = installed / UNITS["coordinator"].name
    path.write_text(path.read_text().replace("Restart=on-failure", "Restart=sometimes"))
    assert "sometimes" in analyze("verify", "--man=no", "--recursive-errors=no", path).stderr


@needs_systemd
@pytest.mark.parametrize("role", UNITS)
def test_little_is_exposed(installed, role):
    path = installed / UNITS[role].name
    done = analyze("security", "--offline=true", path)
    if "--offline" in done.stderr:
        pytest.skip("this systemd-analyze has no --offline")
    [exposure] = re.findall(r"exposure level for \S+: (\d+\.\d)", done.stdout)
    assert float(exposure) <= EXPOSURE, done.stdout


@pytest.mark.parametrize("role", UNITS)
def test_flags_are_the_programs(role, module_sandbox):
    program, first, *words = command(UNITS[role])
    assert program == "/usr/bin/headlong" and first == role
    known = set(re.findall(r"--[a-z][-a-z]*", module_sandbox.run(role, "--help").out))
    flags = [word for word in words if word.startswith("--")]
    assert len(flags) > 6 and set(flags) <= known


@pytest.mark.parametrize("role", UNITS)
def test_nothing_is_killed_while_it_drains(role):
    words = command(UNITS[role])
    drain = int(words[words.index("--drain") + 1])
    assert int(settings(UNITS[role])["TimeoutStopSec"]) >= drain + TEARDOWN_SECONDS
