"""A timer, or renewal.requested -> a whitelist that ends soon signed again by the master key -> whitelist.resigned."""

from __future__ import annotations

import structlog
from cloudevents.http import CloudEvent

from events import Event, RenewalRequested, WhitelistResigned
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.errors import FormatError
from functions.errors import CloudError, Permanent, RepositoryDamaged, WhitelistEnding
from functions.handlers.cloud import Cloud
from functions.handlers.timers import ask_for_each, is_timer
from functions.handlers.wishes import carry_out, publish, require_existing
from functions.publishing.head import WHITELIST_PATH
from functions.publishing.records import Problem, RepositoryRecord, clear_problems, load_record
from functions.publishing.resigning import Renewal, renew_whitelist, stored_days_left

STEP = "resign-whitelist"

log = structlog.get_logger("cvmfs-cloud")


def resign_whitelist(event: CloudEvent, cloud: Cloud) -> None:
    """Renew one whitelist, or ask for each; one that cannot be renewed and ends soon is a problem of its repository."""
    if is_timer(event):
        name = f"timer-{cloud.clock():%Y-%m-%d}"
        ask_for_each(event, cloud, STEP, lambda fqrn: RenewalRequested(repository=fqrn, request=name, if_due=True))
        return
    wish = RenewalRequested.from_cloudevent(event)
    if not wish.if_due:
        carry_out(event, wish, cloud, STEP, lambda record: _renew(record, cloud))
        return
    record = load_record(cloud.state, wish.repository)
    if record.exists and _left(record, cloud) < cloud.settings.whitelist_renew_below_days:
        publish(event, cloud, STEP, _renew(record, cloud))


def _renew(record: RepositoryRecord, cloud: Cloud) -> list[Event]:
    require_existing(record)
    fqrn, now = record.repository, cloud.clock()
    try:
        keys = cloud.keys.ensure_keys(fqrn, subject=record.subject, group=record.group, now=now)
        made = renew_whitelist(
            cloud.repository_store(fqrn),
            cloud.keys.signer(fqrn),
            [keys.public_key],
            Renewal((Certificate.from_pem(keys.certificate.encode()),)),
            now=now,
        )
    except CloudError as err:
        _alarm(err, record, cloud)
        raise
    except FormatError as err:
        damaged = RepositoryDamaged(f"{fqrn}: {err}")
        _alarm(damaged, record, cloud)
        raise damaged from err
    clear_problems(cloud.state, fqrn, frozenset({WHITELIST_PATH}))
    log.info("whitelist-resigned", repository=fqrn, valid_until=made.valid_until.isoformat())
    return [WhitelistResigned(repository=fqrn, expires_at=int(made.valid_until.timestamp()))]


def _alarm(err: CloudError, record: RepositoryRecord, cloud: Cloud) -> None:
    """Tell of a whitelist that is going to end: at once if trying again cannot help, else when there is little left."""
    left = _left(record, cloud)
    if left >= cloud.settings.whitelist_alarm_days and not isinstance(err, Permanent):
        return
    ending = WhitelistEnding(f"The whitelist ends in {left:.1f} days and cannot be signed again: {err}")
    log.error(ending.code, repository=record.repository, days_left=round(left, 2), cause=err.code, reason=str(err))
    problem = Problem.of_repository(ending, record, about=WHITELIST_PATH, now=cloud.clock())
    cloud.state.put(problem.path, problem.to_bytes())


def _left(record: RepositoryRecord, cloud: Cloud) -> float:
    try:
        return stored_days_left(cloud.repository_store(record.repository), now=cloud.clock())
    except RepositoryDamaged:
        return 0.0
