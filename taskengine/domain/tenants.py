"""Who calls, and what a client's configuration says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a client may do. Each may do what the ones after it may, but for `submitter`, which sees its own alone too."""

    ADMIN = "admin"  # everything, for every client
    OPERATOR = "operator"  # every job, neither clients nor settings
    SUBMITTER = "submitter"  # its own jobs
    VIEWER = "viewer"  # looks at its own jobs


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated client."""

    client: str
    role: Role

    @property
    def sees_all(self) -> bool:
        """Whether other clients' jobs exist for it."""
        return self.role in {Role.ADMIN, Role.OPERATOR}
