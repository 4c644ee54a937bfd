"""The examples in Node.js, installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.services import require_service

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "nodejs"


def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the examples with what their lock file names."""
    require_service(
        "Node.js", None if shutil.which("node") and shutil.which("npm") else "node and npm are not installed"
    )
    folder = tmp_path_factory.mktemp("nodejs") / "examples"
    shutil.copytree(EXAMPLES, folder)
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"npm cannot install what the examples need: {done.stderr[-200:]}")
    return folder
