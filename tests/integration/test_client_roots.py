"""A client's own roots: its jobs read, write and delete in folders of its own, whatever names they use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from taskengine.domain.tenants import Role
from taskengine.engine.submissions import Submission
from tests.support.engine import bench, settings_for
from tests.support.receiver import CallbackReceiver


def put(path: Path) -> Path:
    """A file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


async def test_the_same_name_is_each_clients_own(tmp_path: Path) -> None:
    """In another root of the same storage nothing is touched; a root that only one has is unknown to others."""
    storage = tmp_path / "data" / "storage"
    async with CallbackReceiver() as receiver, bench(settings_for(tmp_path), receiver) as running:
        roots = {"local": {"output_root": "clients/one", "archive": "clients/one/old"}}
        await running.engine.tenants.add_client("one", Role.SUBMITTER, {"roots": roots})
        common, own, old = (put(storage / f"{root}/a/x.mp4") for root in ("output", "clients/one", "clients/one/old"))

        async def delete(client: str, **more: Any) -> list[str]:
            parameters = {
                "content_id": "a",
                "files": ["a/x.mp4"],
                "rest_endpoints": [f"{receiver.url}/{client}"],
                **more,
            }
            answer = await running.engine.jobs.submit(Submission(client, "asset_delete", parameters))
            await receiver.wait_for(lambda: any(is_end(body, answer["id"]) for body in receiver.bodies()))
            [end] = [body for body in receiver.bodies() if is_end(body, answer["id"])]
            assert end["status"] == "completed", end
            return list(end["files"])

        assert await delete("one") == [str(own)]
        assert (own.exists(), common.exists(), old.exists()) == (False, True, True)
        assert await delete("one", output_root="archive") == [str(old)]
        assert await delete("demo") == [str(common)]
        assert not common.exists()


def is_end(body: dict[str, Any], job_id: int) -> bool:
    """Whether it is the job's callback."""
    return body["job_id"] == job_id and "status" in body
