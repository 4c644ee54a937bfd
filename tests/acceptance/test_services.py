"""The descriptions of services of an operating system: systemd's units and the one for Windows."""

from __future__ import annotations

import re
import shlex
import shutil
from configparser import RawConfigParser
from pathlib import Path

import pytest
from lxml import etree

from tests.support.deployment import ROOT, run, settings_from, understood
from tests.support.services import require_service

UNITS = ROOT / "config" / "deploy" / "systemd"
WINDOWS = ROOT / "config" / "deploy" / "windows" / "task-engine-worker.xml"
NAMES = ("task-engine.service", "task-engine-worker@.service")


def section(name: str) -> dict[str, str]:
    """[Service] of a unit."""
    parser = RawConfigParser(strict=False, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # its documented way to keep the case
    parser.read(UNITS / name)
    return dict(parser["Service"])


@pytest.mark.parametrize("name", NAMES)
def test_systemd_knows_every_word_of_a_unit(name: str, tmp_path: Path) -> None:
    """No warning either: a word that is not known is ignored, and protects nothing."""
    analyze = shutil.which("systemd-analyze")
    require_service("systemd", None if analyze else "systemd-analyze is not installed (apt-get install systemd)")
    text = (UNITS / name).read_text().replace("/opt/task-engine/bin/taskengine", "/bin/true")
    (tmp_path / name).write_text(text)
    outcome = run(str(analyze), "verify", "--man=no", tmp_path / name)
    assert (outcome.returncode, outcome.stderr) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_starts_what_the_product_understands(name: str) -> None:
    """The command, the settings, and more time to end than the drain takes."""
    service = section(name)
    program, *arguments = shlex.split(service["ExecStart"].replace("%i", "transcode"))
    assert program == "/opt/task-engine/bin/taskengine"
    understood(arguments)
    settings = settings_from(dict(pair.split("=") for pair in shlex.split(service["Environment"])))
    assert settings.drain_grace_s + 10 <= float(service["TimeoutStopSec"])
    assert str(settings.data_dir).startswith(f"/var/lib/{service['StateDirectory']}")
    assert service["KillMode"] == "mixed"  # the drain is the process's own: its children get no signal


def test_the_service_for_windows_starts_what_the_product_understands() -> None:
    """The file parses, the command and the settings are known, and it waits for the drain."""
    service = etree.parse(WINDOWS).getroot()
    text = {child.tag: child.text or "" for child in service}
    assert text["executable"].endswith(r"\taskengine.exe")
    (config,) = re.findall(r'"([^"]+)"', text["arguments"])
    understood(text["arguments"].replace(f'"{config}"', str(ROOT / "config" / "taskengine.yaml")).split())
    env = {str(each.get("name")): str(each.get("value")) for each in service.findall("env")}
    ours = {name: value for name, value in env.items() if name.startswith("TASKENGINE_")}
    settings = settings_from({**ours, "TASKENGINE_DATA_DIR": "/data"})
    assert str(settings.broker_url).startswith("amqp://")
    seconds, unit = text["stoptimeout"].split()
    assert unit == "sec"
    assert settings.drain_grace_s + 10 <= float(seconds)
    assert [each.get("action") for each in service.findall("onfailure")] == ["restart", "restart"]
