"""What is true of repositories, as JSON: decode, one call, encode. For readers only; nothing here changes anything."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Path, Query, Response

from events.names import FQRN_LIMIT, FQRN_PATTERN
from functions.publishing.overview import Details, Overview, Published, days_left, published_at
from functions.settings import Settings
from gateway.dependencies import Now, RepositoriesOf, SettingsOf

PAGE = 100
PAGE_LIMIT = 500
"""Most repositories in one answer; each costs four requests to the store."""


def _not_stored(response: Response) -> None:
    response.headers["Cache-Control"] = "no-store"


router = APIRouter(dependencies=[Depends(_not_stored)])


Name = Annotated[str, Path(pattern=FQRN_PATTERN, max_length=FQRN_LIMIT)]
Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT)]
After = Annotated[str, Query(pattern=FQRN_PATTERN, max_length=FQRN_LIMIT)]


@router.get("/repositories")
def list_repositories(repositories: RepositoriesOf, now: Now, limit: Limit = PAGE, after: After = "") -> dict[str, Any]:
    """All repositories by name, a page at a time; `next` is where the following page is, null on the last one."""
    page = repositories.page(limit=limit, after=after)
    following = None if page.after is None else f"/repositories?{urlencode({'limit': limit, 'after': page.after})}"
    return {"repositories": [_in_a_line(overview, now) for overview in page.overviews], "next": following}


@router.get("/repositories/{fqrn}")
def show_repository(fqrn: Name, repositories: RepositoriesOf, settings: SettingsOf, now: Now) -> dict[str, Any]:
    """One repository in full."""
    return _in_full(repositories.details(fqrn, now), settings, now)


@router.get("/repositories/{fqrn}/problems")
def show_problems(fqrn: Name, repositories: RepositoriesOf) -> dict[str, Any]:
    """What is wrong with the uploads of a repository, oldest first."""
    problems = [problem.model_dump(mode="json") for problem in repositories.problems(fqrn)]
    return {"repository": fqrn, "problems": problems}


def _in_a_line(overview: Overview, now: datetime) -> dict[str, Any]:
    record, manifest, whitelist = overview.record, overview.manifest, overview.whitelist
    return {
        "name": overview.name,
        "owner": record and record.username,
        "group": record and record.group,
        "bucket": record and record.bucket,
        "state": overview.state,
        "revision": manifest and manifest.revision,
        "published_at": manifest and published_at(manifest).isoformat(),
        "whitelist_days_left": whitelist and round(days_left(whitelist, now), 2),
        "problems": overview.problems,
        "faults": list(overview.faults),
    }


def _in_full(details: Details, settings: Settings, now: datetime) -> dict[str, Any]:
    overview = details.overview
    record, manifest, whitelist = overview.record, overview.manifest, overview.whitelist
    base = settings.repository_url.rstrip("/")
    return _in_a_line(overview, now) | {
        "url": f"{base}/{overview.name}",
        "created_at": record and record.created_at.isoformat(),
        "root_hash": manifest and str(manifest.root),
        "whitelist_valid_until": whitelist and whitelist.valid_until.isoformat(),
        **_size(details.published),
        "rolled_back": _held_back(details.published),
        "suspended_for": (record and record.suspended_for) or None,
        "waiting_changes": details.waiting,
        "settings": record and record.settings.model_dump(mode="json"),
        "mount": _mount(overview.name, base),
    }


def _size(published: Published | None) -> dict[str, Any]:
    if published is None:
        return dict.fromkeys(("catalogs", "entries", "bytes", "counters"))
    return {
        "catalogs": published.catalogs,
        "entries": published.entries,
        "bytes": published.counters.file_size,
        "counters": {"self": published.own.as_mapping(), "subtree": published.below.as_mapping()},
    }


def _held_back(published: Published | None) -> dict[str, int] | None:
    """What a rollback holds back: everything uploaded before `held_before` (epoch seconds)."""
    pin = published and published.pin
    return {"to_revision": pin.target, "held_before": pin.held_before} if pin else None


def _mount(name: str, base: str) -> dict[str, str]:
    """What a worker node needs; the public key itself comes with the event ``repository.created``."""
    key = f"/etc/cvmfs/keys/{name}.pub"
    return {
        "path": f"/cvmfs/{name}",
        "configuration_file": f"/etc/cvmfs/config.d/{name}.conf",
        "configuration": f"CVMFS_SERVER_URL={base}/@fqrn@\nCVMFS_PUBLIC_KEY={key}\nCVMFS_HTTP_PROXY=DIRECT\n",
        "public_key_file": key,
    }
