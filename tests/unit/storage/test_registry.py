"""Storages by name, as settings and clients' configurations have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.errors import InvalidRequest
from taskengine.storage.registry import Storages


@pytest.fixture
def storages(tmp_path: Path) -> Storages:
    """Two storages, one with several output roots."""
    return Storages({
        "local": {"kind": "local", "path": str(tmp_path)},
        "archive": {"kind": "local", "path": str(tmp_path / "archive"), "source_root": "in",
                    "output_root": "out", "output_roots": {"premium": "/srv/premium"}},
    })  # fmt: skip


def test_roots_have_defaults(storages: Storages, tmp_path: Path) -> None:
    """`source` and `output` below the path, the default output root unless another is named."""
    assert storages.open("local", "source_root").full_path("a") == f"{tmp_path}/source/a"
    assert storages.open("local").full_path("a") == f"{tmp_path}/output/a"


def test_output_roots_have_names(storages: Storages, tmp_path: Path) -> None:
    """A job chooses an output root by its key; an absolute root stands for itself."""
    assert storages.open("archive", "output_root").full_path("a") == f"{tmp_path}/archive/out/a"
    assert storages.open("archive", "premium").full_path("a") == "/srv/premium/a"
    assert storages.roots("archive") == ["output_root", "premium", "source_root"]
    assert storages.names() == ["archive", "local"]


def test_a_client_overrides_roots(storages: Storages, tmp_path: Path) -> None:
    """A client's own roots come before those of the installation."""
    own = {"source_root": "clients/demo", "extra": "clients/demo/extra"}
    assert storages.open("local", "source_root", own).full_path("a") == f"{tmp_path}/clients/demo/a"
    assert storages.open("local", "extra", own).full_path("a") == f"{tmp_path}/clients/demo/extra/a"
    assert storages.open("local", "output_root", own).full_path("a") == f"{tmp_path}/output/a"


@pytest.mark.parametrize(
    ("name", "root", "message"),
    [
        ("local2", "output_root", r"'local2' is no storage; known are archive, local \(did you mean 'local'\?\)"),
        ("archive", "premum", r"'premum' is no root of the storage 'archive'; known are output_root, premium, source"),
    ],
)
def test_unknown_names_are_told_with_the_known_ones(storages: Storages, name: str, root: str, message: str) -> None:
    """Whoever mistypes sees what there is."""
    with pytest.raises(InvalidRequest, match=message):
        storages.open(name, root)


@pytest.mark.parametrize("url", ["file:///srv/media%20files", "/srv/media files"])
def test_a_url_may_be_a_folder(url: str) -> None:
    """Both ways of writing a folder mean the same."""
    assert Storages({"local": {"url": url}}).open("local").full_path("a") == "/srv/media files/output/a"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "s3", "url": "s3://bucket"}, "kind: 's3' is not yet supported"),
        ({"kind": "azure"}, "kind: 'azure' is not yet supported"),
        ({"kind": "tape"}, "kind: 'tape' is unknown; known are local"),
        ({"kind": "local"}, "the root 'source' is not absolute"),
        ({"kind": "local", "url": "http://host/path"}, "a folder or file:///"),
        ({"kind": "local", "url": "file://host/path"}, "a folder or file:///"),
        ({"kind": "local", "path": "/srv", "colour": "red"}, "unknown: colour"),
        ({"kind": "local", "path": "/srv", "output_roots": {"source_root": "x"}}, "name of the source root"),
    ],
)
def test_wrong_settings_are_told_when_they_are_read(settings: dict[str, Any], message: str) -> None:
    """A storage that cannot work is found at the start, not by the first job."""
    with pytest.raises(InvalidRequest, match=message) as caught:
        Storages({"media": settings})
    assert caught.value.faults[0].path == "/storages/media"


def test_all_faults_are_told_at_once() -> None:
    """Each wrong storage is named."""
    with pytest.raises(InvalidRequest) as caught:
        Storages({"a": {"kind": "s3"}, "b": {"kind": "tape"}, "c": {"path": "/srv"}})
    assert [fault.path for fault in caught.value.faults] == ["/storages/a", "/storages/b"]
