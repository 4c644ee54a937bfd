"""What a wheel and an sdist carry, and how the directories at the top level are imported."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINKED = ("brokers", "handlers", "config")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed and the new files of the project, without what is ignored, as an sdist's source."""
    target = tmp_path_factory.mktemp("source")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listing, cwd=ROOT, capture_output=True, check=False, text=True)
    if found.returncode:
        pytest.skip("this is no git checkout")
    for name in filter(None, found.stdout.split("\0")):
        copy, original = target / name, ROOT / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if original.is_symlink():
            copy.symlink_to(original.readlink())
        elif original.is_file():
            copy.write_bytes(original.read_bytes())
    return target


@pytest.fixture(scope="module")
def archives(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    """The names in the sdist and in the wheel that is built from it."""
    target = tmp_path_factory.mktemp("dist")
    _build("sdist", source, target)
    with tarfile.open(next(target.glob("*.tar.gz"))) as sdist:
        names = [name.partition("/")[2] for name in sdist.getnames()]
        sdist.extractall(target, filter="data")
    _build("wheel", next(path for path in target.iterdir() if path.is_dir()), target)
    with zipfile.ZipFile(next(target.glob("*.whl"))) as wheel:
        return names, wheel.namelist()


def _build(kind: str, source: Path, target: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)


def _expected(folder: str, source: Path) -> set[str]:
    return {
        f"taskengine/{folder}/{path.relative_to(source / folder)}"
        for path in (source / folder).rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("folder", LINKED)
def test_a_checkout_has_the_link(folder: str) -> None:
    """The directory at the top level is reached under the package by a committed link."""
    link = ROOT / "taskengine" / folder

    assert link.is_symlink()
    assert link.readlink() == Path("..") / folder


def test_the_wheel_carries_nothing_but_the_package(archives: tuple[list[str], list[str]]) -> None:
    """No folder of ours can collide with one of another package."""
    _, wheel = archives

    assert {name.split("/")[0] for name in wheel if ".dist-info/" not in name} == {"taskengine"}
    assert len(wheel) == len(set(wheel))


@pytest.mark.parametrize("folder", LINKED)
def test_the_wheel_carries_the_linked_directories_whole(
    folder: str, archives: tuple[list[str], list[str]], source: Path
) -> None:
    """Built from the sdist, the wheel has every file of the directory under the package's name."""
    _, wheel = archives

    assert _expected(folder, source) <= set(wheel)


def test_the_wheel_carries_data_beside_the_code(archives: tuple[list[str], list[str]], source: Path) -> None:
    """Type marker, SQL and everything else in the package comes along."""
    _, wheel = archives
    package = {
        str(path.relative_to(source))
        for path in (source / "taskengine").rglob("*")
        if path.is_file() and not path.is_symlink() and path.relative_to(source).parts[1] not in LINKED
    }

    assert package <= set(wheel)


def test_the_sdist_carries_the_directories_once(archives: tuple[list[str], list[str]]) -> None:
    """The directories lie where they lie in the repository, not a second time under the links."""
    sdist, _ = archives

    assert not [name for name in sdist for folder in LINKED if name.startswith(f"taskengine/{folder}")]
    assert {"config/taskengine.yaml", "LICENSE", "README.md"} <= set(sdist)


@pytest.mark.parametrize("name", ["brokers", "handlers"])
def test_a_second_copy_cannot_be_imported(name: str) -> None:
    """The bare name is refused with the way to import it."""
    with pytest.raises(ImportError, match=f"import it as taskengine.{name}"):
        importlib.import_module(name)


def _imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_the_core_imports_the_standard_library_alone() -> None:
    """`domain` needs nothing that must be installed, and does no I/O of its own."""
    forbidden = {"asyncio", "io", "logging", "os", "pathlib", "socket", "sqlite3", "subprocess", "threading", "time"}
    found = {
        f"{path.name}: {name}"
        for path in (ROOT / "taskengine/domain").glob("*.py")
        for name in _imports_of(path)
        if not name.startswith("taskengine.domain")
        and (name.split(".")[0] not in sys.stdlib_module_names or name.split(".")[0] in forbidden)
    }

    assert found == set()
