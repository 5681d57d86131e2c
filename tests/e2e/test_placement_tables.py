"""docs/placement.md says what the binary computes now."""
import os
import pathlib
import subprocess
import sys

import pytest

from support.cluster import BINARY, ROOT

DOCUMENT = ROOT / "docs" / "placement.md"


def test_document_is_what_the_script_writes(tmp_path):
    published = pathlib.Path(os.environ.get("HEADLONG_SHARED", ROOT / ".." / "shared")) / "data"
    if not (published / "heads").is_dir():
        pytest.skip(f"no published patterns in {published}")
    out = tmp_path / "placement.md"
    subprocess.run([sys.executable, ROOT / "docs" / "placement_tables.py", "--binary", BINARY,
                    "--data", published, "--out", out], check=True, timeout=600)
    assert out.read_text() == DOCUMENT.read_text(), \
        "run: python3 docs/placement_tables.py"
