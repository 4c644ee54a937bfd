"""One job of shaka-streamer, as a program of the peers' environment: `streamer_job.py <configs as JSON> <output> <preset>`.

It ships with the preset `slow`: the one that is given takes its place. It uses the programs that PATH names, looks for its
end every 50 ms instead of once a second, and prints how many seconds it took.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from streamer import controller_node
from streamer.node_base import ProcessStatus


def with_preset(node: Any, preset: str) -> Any:
    """A transcoder as `node` is, but for the preset of its video."""

    class Transcoder(node):  # type: ignore[misc] # what it is made of is not where types are checked
        def _encode_video(self, *arguments: Any) -> list[str]:
            words: list[str] = super()._encode_video(*arguments)
            return [preset if before == "-preset" else word for before, word in zip(["", *words], words, strict=False)]

    return Transcoder


def main(configs: str, output: str, preset: str) -> int:
    """0 where it completed."""
    controller_node.TranscoderNode = with_preset(controller_node.TranscoderNode, preset)
    given = json.loads(configs)
    begun = time.monotonic()
    controller = controller_node.ControllerNode()
    options = {"check_deps": False, "use_hermetic": False}
    with controller.start(output, given["input"], given["pipeline"], given["bitrates"], **options):
        while (status := controller.check_status()) == ProcessStatus.RUNNING:
            time.sleep(0.05)
    print(time.monotonic() - begun)
    return 0 if status == ProcessStatus.FINISHED else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
