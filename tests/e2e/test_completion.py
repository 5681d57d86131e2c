"""Completion as shells do it: each really runs the script that `headlong completion` prints."""
import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest

from support.cluster import BINARY


def environment(tmp_path):
    return dict(os.environ, PATH=f"{BINARY.parent}:{os.environ['PATH']}", HOME=str(tmp_path),
                HEADLONG_CONFIG=str(tmp_path / "config.json"), TERM="dumb", LC_ALL="C")


def needs(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


def bash(tmp_path, line):
    """What bash would offer behind `line`, as its own completion machinery calls the script."""
    script = ('source <(headlong completion bash); compopt() { echo "compopt $*"; }; '
              'COMP_LINE="$1" COMP_POINT=${#1}; _headlong; printf "%s\\n" "${COMPREPLY[@]}"')
    out = subprocess.run(["bash", "--norc", "-c", script, "-", line], env=environment(tmp_path),
                         capture_output=True, text=True, timeout=30)
    assert out.returncode == 0 and out.stderr == "", out.stderr
    return out.stdout.split("\n")[:-1]


def fish(tmp_path, line):
    script = 'headlong completion fish | source; complete -C "$argv[1]"'
    out = subprocess.run(["fish", "--no-config", "-c", script, line], env=environment(tmp_path),
                         capture_output=True, text=True, timeout=30)
    assert out.returncode == 0, out.stderr
    return [entry.split("\t")[0] for entry in out.stdout.splitlines()]


def type_into(shell, setup, keys, tmp_path):
    """The screen of an interactive shell after `keys`; a pause lets it answer."""
    pid, screen = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execvpe(shell[0], shell, environment(tmp_path))
    out = b""

    def read(seconds):
        nonlocal out
        end = time.monotonic() + seconds
        while select.select([screen], [], [], max(0, end - time.monotonic()))[0]:
            try:
                out += os.read(screen, 65536)
            except OSError:
                return

    def wait_for(text):
        end = time.monotonic() + 20
        while text not in out:
            assert time.monotonic() < end, out.decode(errors="replace")
            read(0.2)

    read(1)
    os.write(screen, setup.encode() + b"; echo rea''dy\n")
    wait_for(b"ready\r\n")
    out = b""
    os.write(screen, keys.encode())
    read(3)
    os.write(screen, b"\x03\x04")
    os.close(screen)
    os.waitpid(pid, 0)
    return as_shown(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.decode(errors="replace")))


def as_shown(text):
    """What stands on the line: bells are heard, backspaces are written over."""
    line = []
    column = 0
    for character in text.replace("\x07", ""):
        if character == "\b":
            column -= 1
        else:
            line[column:column + 1] = [character]
            column += 1
    return "".join(line)


def test_bash_offers_what_the_program_knows(tmp_path, server):
    assert bash(tmp_path, "headlong clus") == ["cluster"]
    assert bash(tmp_path, "headlong workers ") == ["drain", "get", "list", "return"]
    assert bash(tmp_path, "headlong workers list -o ") == ["json", "name", "table", "wide"]
    assert bash(tmp_path, "headlong serve --dev") == ["--device"]
    assert bash(tmp_path, "headlong serve --device=") == ["auto", "cpu", "cuda"]
    assert bash(tmp_path, "headlong plan diff ") == ["compopt -o default", ""]
    assert bash(tmp_path, f"headlong workers drain --server {server.address} ") == ["w0", "w1"]


def test_bash_at_a_prompt(tmp_path):
    screen = type_into(["bash", "--norc", "-i"], "source <(headlong completion bash)",
                       "headlong placem\thist\t", tmp_path)
    assert "headlong placement history" in screen, screen


def test_fish_offers_what_the_program_knows(tmp_path, server):
    needs("fish")
    assert fish(tmp_path, "headlong clus") == ["cluster"]
    assert sorted(fish(tmp_path, "headlong workers list -o ")) == ["json", "name", "table", "wide"]
    assert fish(tmp_path, "headlong serve --dev") == ["--device"]
    assert fish(tmp_path, f"headlong workers drain --server {server.address} ") == ["w0", "w1"]
    (tmp_path / "some-plan.json").write_text("{}")
    assert str(tmp_path / "some-plan.json") in fish(
        tmp_path, f"headlong plan diff {tmp_path}/some-p")


def test_zsh_at_a_prompt(tmp_path):
    needs("zsh")
    setup = "autoload -U compinit; compinit -u; source <(headlong completion zsh)"
    screen = type_into(["zsh", "-f", "-i"], setup, "headlong placem\thist\t", tmp_path)
    assert "headlong placement history" in screen, screen
    screen = type_into(["zsh", "-f", "-i"], setup, "headlong workers dr\t--dry\t", tmp_path)
    assert "headlong workers drain --dry-run" in screen, screen


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_well_formed(tmp_path, sandbox, shell):
    needs(shell)
    script = sandbox.run("completion", shell)
    assert script.code == 0
    path = tmp_path / "script"
    path.write_text(script.out)
    subprocess.run([shell, "-n", path], check=True, env=environment(tmp_path))
