"""Schemathesis over the OpenAPI document of a running engine: whatever is sent, an answer that the document has."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

_CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance",
)  # fmt: skip
_ENDLESS = "events$"  # streams
_ROOT = Path(__file__).parents[2]


async def run_schemathesis(url: str, client: str, key: str, *, examples: int, seed: int, folder: Path) -> str:
    """What it prints; AssertionError with that where it found anything."""
    argv = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "-H", f"client: {client}",
        "-H", f"api-key: {key}", "--checks", ",".join(_CHECKS), "--max-examples", str(examples), "--seed", str(seed),
        "--exclude-path-regex", _ENDLESS, "--phases", "examples,coverage,fuzzing", "--no-color",
        "--suppress-health-check", "all",
    ]  # fmt: skip
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdout=pipe, stderr=asyncio.subprocess.STDOUT, cwd=folder)
    printed = (await process.communicate())[0].decode()
    assert process.returncode == 0, printed[-6000:]
    return printed
