"""What names may look like: repositories, buckets, users, groups, reply queues.

Each rule is a pattern that Python, pydantic and JSON Schema read the same way. They are as narrow as the strictest
place a name ends up in: a Vault path, an S3 bucket, a URL, a CloudEvents attribute.
"""

from __future__ import annotations

import re

from events.errors import EventError

FQRN_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)+$"
"""``sanitizer.h: RepositorySanitizer``, with at least one dot and no empty label."""
FQRN_LIMIT = 60
"""Characters of a repository name (``cvmfs_server_util.sh: is_valid_repo_name``)."""

BUCKET_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{2,62}$"
"""RadosGW refuses bucket names of fewer than 3 or more than 63 characters."""

GROUP_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
USERNAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,254}$"

SUBJECT_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@:|=+~-]{0,254}$"
"""An OpenID Connect ``sub`` that is one segment of a Vault path: no slash, nothing a URL gives a meaning to."""

REPLY_QUEUE_PATTERN = r"^[a-z0-9][a-z0-9-]*_reply$"
"""Queues that replies may be asked on; no queue of the service itself can have such a name."""

REQUEST_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:+-]{0,99}$"
"""Part of an event's id, and kept in repository records and root catalogs."""

TAG_PATTERN = r"^[A-Za-z0-9_./:-]+$"
"""``sanitizer.h: AlphaNumSanitizer`` and what tag names may hold besides."""
TAG_LIMIT = 255


def valid_fqrn(name: str) -> bool:
    """Whether `name` is a fully qualified repository name."""
    return len(name) <= FQRN_LIMIT and re.fullmatch(FQRN_PATTERN, name) is not None


def bucket_of(fqrn: str, domain: str) -> str:
    """The bucket that belongs to a repository: its name without the domain.

    Raises EventError if the name is not valid, not in `domain`, or leaves nothing that can name a bucket.
    """
    if not valid_fqrn(fqrn):
        raise EventError([f"repository: {fqrn!r} is not a repository name"])
    bucket = fqrn.removesuffix(f".{domain}")
    if bucket == fqrn:
        raise EventError([f"repository: {fqrn!r} is not in the domain {domain!r}"])
    if re.fullmatch(BUCKET_PATTERN, bucket) is None:
        raise EventError([f"repository: {bucket!r} cannot name a bucket, which needs 3 to 63 characters"])
    return bucket
