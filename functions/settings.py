"""All settings: read once from the process environment, frozen; faults are reported together, by name."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from functions.errors import CloudError


class SettingsError(CloudError):
    """One or more settings are missing or unreadable."""

    code = "settings"
    hint = "They are variables of the environment; on Knative, of the service's ConfigMap and Secret."


class Settings(BaseModel):
    """The settings of every function and of the gateway; a field's name in capitals is its environment variable."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    s3_endpoint: str
    s3_region: str = "default"
    s3_access_key: str
    s3_secret_key: SecretStr
    s3_quoted_if_match: bool = False
    """Whether PUT If-Match carries the etag in quotes: false for Ceph 16, true for what follows the standard."""

    repository_bucket: str = "cvmfs"
    state_bucket: str = "cvmfs-state"
    repository_url: str
    """Where worker nodes read: ``<repository_url>/<fqrn>/.cvmfspublished``."""
    repository_domain: str = "infn.it"

    amqp_url: SecretStr
    event_exchange: str = "cvmfs"

    vault_addr: str = ""
    vault_role_id: str = ""
    vault_secret_id: SecretStr = SecretStr("")
    vault_kv_mount: str = "secrets"
    vault_transit_mount: str = "transit"

    create_buckets: bool = True
    """Whether a missing bucket is made when its repository is created."""
    topic_prefix: str = "cvmfs"
    topic_shards: int = Field(default=4, ge=1, le=64)
    amqp_ack_level: Literal["none", "broker", "routable"] = "none"
    """What RadosGW waits for after it has published: none for Ceph 16, which aborts otherwise; later broker."""

    min_publish_interval_s: float = Field(default=2.0, ge=0, le=60)
    """Seconds between revisions of one repository under sustained load; the first changes after quiet do not wait.

    A publisher waits for them inside of a request; repositories that want longer ones have settings of their own.
    """
    take_along_from: int = Field(default=64, ge=1)
    """Notifications that wait, from which on a request takes some along; fewer are spread over the instances."""
    take_along: int = Field(default=32, ge=0, le=1000)
    """How many of them one request takes along at most; none at 0."""
    publish_linger_s: float = Field(default=0.05, ge=0, le=10)
    """Seconds a publisher waits for more changes after a revision before it leaves the repository."""
    publish_stay_s: float = Field(default=60.0, gt=0, le=500)
    """Seconds after which a publisher under sustained load hands its repository on, well below the request timeout."""
    record_keep_s: float = Field(default=5.0, ge=0, le=300)
    """Seconds after which a process reads a repository's record again: how long a suspension or setting may take."""
    reconcile_leg_s: float = Field(default=120.0, ge=0, le=200)
    """Seconds after which a long reconciliation goes on with an event of its own, well below the request timeout."""
    empty_bucket_limit: int = Field(default=100, ge=0)
    """Files from a bucket that may all go at once when it is found empty; more only when somebody confirms it."""
    files_limit: int | None = Field(default=None, ge=0)
    """Files, links and directories of a repository that has no limit of its own; no limit if not set."""
    bytes_limit: int | None = Field(default=None, ge=0)
    """Bytes of content of such a repository."""
    file_bytes_limit: int | None = Field(default=None, ge=0)
    """Bytes of one file, also of one in an archive."""
    archive_members_limit: int = Field(default=1_000_000, ge=1)
    archive_bytes_limit: int = Field(default=200 * 2**30, ge=1)
    """Bytes of content that an archive may unpack to."""
    archive_ratio_limit: int = Field(default=200, ge=1)
    """How many times its own size an archive may unpack to."""
    whitelist_renew_below_days: float = Field(default=15, gt=0, le=29)
    """Days before its end at which a whitelist is signed again; half of its life leaves time for what may fail."""
    whitelist_alarm_days: float = Field(default=7, gt=0, le=29)
    """Days before its end at which a whitelist that could not be signed again is a problem, shown and logged."""
    keep_revisions_s: int = Field(default=3 * 24 * 3600, ge=0)
    """Seconds for which revisions without a tag are kept from garbage collection; a repository may have its own."""
    collect_stay_s: float = Field(default=200.0, gt=0, le=250)
    """Seconds after which a collection of garbage or a deletion hands on what is left, well below the request timeout.
    """
    catalog_cache_mib: int = Field(default=32, ge=0)
    retry_for_s: int = Field(default=7 * 24 * 3600, ge=60)
    """Seconds after which an event that still cannot be handled is parked; counted from its CloudEvent time."""

    bind_address: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    scratch: Path = Path(tempfile.gettempdir())

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, str]) -> Self:
        """Read settings; raises SettingsError that names every missing or unreadable variable."""
        given = {name: mapping[name.upper()] for name in cls.model_fields if name.upper() in mapping}
        try:
            return cls.model_validate(given)
        except ValidationError as err:
            faults = []
            for fault in err.errors():
                name = str(fault["loc"][0]).upper()
                if fault["type"] == "missing":
                    faults.append(f"{name} is not set")
                else:
                    faults.append(f"{name}: {fault['msg']}")
            raise SettingsError("; ".join(faults)) from None
