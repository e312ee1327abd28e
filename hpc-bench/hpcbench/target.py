"""The service under test: addresses and credentials, in a file that only its owner may read."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hpcbench.errors import BenchError
from hpcbench.s3 import S3Client

_BASES = ("s3_url", "gateway_url", "repository_url")
"""Addresses that paths are put behind; a slash at their end would be one too many, and spoil signatures."""


@dataclass(frozen=True, slots=True)
class User:
    """An S3 account; `subject` is the OpenID Connect ``sub``, which is also its name in RadosGW."""

    subject: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """Where everything is. `amqp_url` is for the probe only; `reader` may list the bucket of the repositories.

    Without `management_url`, which has user and password in it, only the queues of functions are sampled, not all;
    without `local_pid`, the process that holds a stack on this machine, no processes are. `slurm_conf` is that of a
    Slurm beside such a stack. `token` is sent to the gateway as bearer token.
    """

    s3_url: str
    region: str
    gateway_url: str
    repository_url: str
    repository_bucket: str
    domain: str
    users: tuple[User, ...]
    reader: User | None = None
    amqp_url: str = field(default="", repr=False)
    management_url: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    local_pid: int = 0
    slurm_conf: str = ""

    @classmethod
    def read(cls, path: Path) -> Target:
        """Read the file; raises BenchError."""
        try:
            raw = json.loads(path.read_text())
            raw |= {name: raw[name].rstrip("/") for name in _BASES}
            users = tuple(User(**user) for user in raw.pop("users"))
            reader = raw.pop("reader", None)
            return cls(users=users, reader=User(**reader) if reader else None, **raw)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as err:
            raise BenchError(f"{path}: {err}", hint="hpc-bench/README.md has an example.") from err

    def s3(self, account: User) -> S3Client:
        """A client with the keys of an account."""
        return S3Client(self.s3_url, region=self.region, access_key=account.access_key, secret_key=account.secret_key)

    def write(self, path: Path) -> None:
        """Keep it, mode 0600; whoever reads sees all of it or nothing."""
        new = path.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(self), file, indent=1)
        new.replace(path)
