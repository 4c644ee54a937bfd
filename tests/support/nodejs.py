"""What tests need of npm, installed from the lock files in the tree."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.services import require_service

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "nodejs"


def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the examples with what their lock file names."""
    return install(EXAMPLES, tmp_path_factory.mktemp("nodejs"))


def install(source: Path, target: Path) -> Path:
    """A copy of a folder, below `target`, with what its lock file names."""
    require_service(
        "Node.js", None if shutil.which("node") and shutil.which("npm") else "node and npm are not installed"
    )
    folder = target / source.name
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, check=False
    )
    require_service(
        "npm", f"it cannot install what {source.name} needs: {done.stderr[-200:]}" if done.returncode else None
    )
    return folder
