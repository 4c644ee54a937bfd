"""The reference tells the truth."""

from __future__ import annotations

import re
from pathlib import Path

from taskengine.api.routes import ROUTES
from taskengine.domain.setting import SETTINGS
from taskengine.domain.tenants import CONFIG_NAMES

REFERENCE = (Path(__file__).parents[3] / "docs/reference/api.md").read_text(encoding="utf-8")


def test_every_call_is_in_the_reference_and_no_other() -> None:
    """But for the second name of a job's paths, which it mentions."""
    told = set(re.findall(r"^\| `([A-Z]+ /\S*)` \|", REFERENCE, re.MULTILINE))
    assert told == {f"{route.method} {route.path}" for route in ROUTES if not route.path.startswith("/job/")}


def test_every_setting_and_name_of_a_configuration_is_in_the_reference() -> None:
    """With its values and defaults."""
    for setting in SETTINGS.values():
        high = "`max_jobs`" if setting.name == "priority_slots" else setting.high
        assert f"| `{setting.name}` | {setting.low} to {high} | {'yes' if setting.per_client else 'no'} |" in REFERENCE
    for name in CONFIG_NAMES:
        assert f"`{name}`" in REFERENCE or f'"{name}"' in REFERENCE
