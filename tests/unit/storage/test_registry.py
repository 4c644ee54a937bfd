"""Storages by name, as settings and clients' configurations have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.errors import InvalidRequest
from taskengine.storage.buckets import bucket
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
        ("local2", "output_root", r"'local2' is no storage; known are archive, local; did you mean 'local'\?"),
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
        ({"kind": "s3"}, "the url of a storage of this kind is s3://bucket/prefix, not ''"),
        ({"kind": "s3", "url": "azure://media"}, "is s3://bucket/prefix, not 'azure://media'"),
        ({"kind": "s3", "url": "s3://key:secret@media"}, "is s3://bucket/prefix"),
        ({"kind": "s3", "url": "s3://media", "options": {"colour": "red"}}, "'colour' is not valid for store 'S3'"),
        ({"kind": "s3", "url": "s3://media", "path": "/srv"}, "unknown: path"),
        (
            {
                "kind": "azure",
                "url": "azure://media",
                "options": {"account_name": "a"},
                "credentials": {"account_key": "no base64"},
            },
            "Invalid Access Key",
        ),
        ({"kind": "tape"}, "kind: 'tape' is unknown; known are azure, local, s3"),
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


def test_a_bucket_has_roots_below_its_url_or_of_their_own() -> None:
    """Roots lie below the prefix of the URL; one with a URL of its own stands for itself."""
    storages = Storages({
        "S3": {"kind": "s3", "url": "s3://media/vod/", "source_root": "/in//box/", "options": {"region": "eu-west-1"},
               "output_roots": {"premium": "s3://premium/out"}},
    })  # fmt: skip
    assert storages.open("S3", "source_root").full_path("a/b") == "s3://media/vod/in/box/a/b"
    assert storages.open("S3").full_path("a/b") == "s3://media/vod/output/a/b"
    assert storages.open("S3", "premium").full_path("a/b") == "s3://premium/out/a/b"
    assert storages.open("S3") is storages.open("S3")


def test_credentials_are_those_of_the_settings_or_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of AWS fill in what the settings leave out."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-environment")
    assert bucket({"kind": "s3", "url": "s3://media"}, "").uploads() is None  # half a credential is none
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    made = bucket({"kind": "s3", "url": "s3://media", "credentials": {"access_key_id": "given"}}, "")
    assert made.credential("access_key_id") == "given"
    assert made.credential("secret_access_key") == "secret"
    assert made.uploads() is not None
