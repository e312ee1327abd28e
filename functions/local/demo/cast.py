"""Who plays in the demo, and where."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from functions.local.stack import Stack

DOMAIN = "infn.it"


@dataclass(frozen=True, slots=True)
class Cast:
    """A user with a repository of their own, and their team with another; both in the running `stack`."""

    stack: Stack
    username: str = "alice"
    team: str = "physics"

    @property
    def subject(self) -> str:
        """The user, as the identity provider and RadosGW know them."""
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.username}.example.org"))

    @property
    def fqrn(self) -> str:
        """The user's repository."""
        return f"{self.username}.{DOMAIN}"

    @property
    def team_fqrn(self) -> str:
        """The team's repository."""
        return f"{self.team}.{DOMAIN}"
