"""A notification of RadosGW -> contents stored -> change records queued -> repository.changed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from cloudevents.http import CloudEvent, from_json

from events import Record
from events.event import STRUCTURED
from events.types import RAW_MESSAGE
from functions.errors import Retryable
from functions.handlers.cloud import Cloud, event_source
from functions.handlers.intake import STEP, Intake, Notified, notified_by, send, take_in
from functions.ports import Delivery, WorkBatch

LARGE = 4 << 20
"""Bytes of an upload from which the smaller ones are not made to wait for it."""

STAY_S = 60.0
"""Seconds after which nothing more of what was taken along is begun, well below the request timeout."""


def handle_bucket_notification(event: CloudEvent, cloud: Cloud) -> None:
    """Take in the objects that a notification names and, where many wait behind it, those of some more.

    Raises EventError if it is no notification, and after everything else was done the first error that is no refusal.
    """
    notified = notified_by(event)
    intake = take_in(notified, event, cloud)
    send([intake], event, cloud)
    if intake.later:
        raise intake.later[0]
    if len(notified) > 1:
        return  # where a message is much work, one more request costs nothing beside it
    # This request is done. What fails from here on was not acknowledged, and comes again by itself.
    with suppress(Retryable):
        _take_along(event, cloud)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A message that waited for a request of its own, as the event that the source would have made of it."""

    delivery: Delivery
    event: CloudEvent
    notified: Sequence[Notified]

    @property
    def is_small(self) -> bool:
        """Whether it is done at once: about one object, and no large one."""
        return len(self.notified) == 1 and all(
            each.record.size < LARGE for each in self.notified if isinstance(each.record, Record)
        )


def _take_along(event: CloudEvent, cloud: Cloud) -> None:
    """Take in what waits behind a request: one for each costs more than a small file does.

    The small ones go first, together, and as much of the others as makes up the number of objects that a request takes
    along. Whatever is wrong with a message is left to the request that it will have in a while.
    """
    began = time.monotonic()
    if not cloud.crowd.is_there(began, lambda: cloud.bus.work_waiting(STEP)):
        return
    with cloud.bus.take_work(STEP, most=cloud.crowd.along) as work:
        waiting = []
        for delivery in work.deliveries:
            try:
                waiting.append(_read(delivery, event))
            except Exception:  # noqa: BLE001
                work.put_off([delivery])
        small = [each for each in waiting if each.is_small]
        room = cloud.crowd.along
        for batch in (small, *([each] for each in waiting if not each.is_small)):
            if room <= 0 or time.monotonic() - began > STAY_S:
                return
            _carry(batch, event, work, cloud)
            room -= sum(len(each.notified) for each in batch)


def _read(delivery: Delivery, event: CloudEvent) -> _Waiting:
    if (delivery.content_type or "").startswith(STRUCTURED):
        own = from_json(delivery.body)
    else:
        attributes = {"type": RAW_MESSAGE, "source": event_source(STEP), "id": f"{event['id']}/{delivery.tag}"}
        own = CloudEvent(attributes, delivery.body)
    return _Waiting(delivery, own, notified_by(own))


def _carry(batch: Sequence[_Waiting], event: CloudEvent, work: WorkBatch, cloud: Cloud) -> None:
    intakes: list[tuple[Delivery, Intake]] = []
    for each in batch:
        try:
            intakes.append((each.delivery, take_in(each.notified, each.event, cloud)))
        except Exception:  # noqa: BLE001
            work.put_off([each.delivery])
    send([intake for _, intake in intakes], event, cloud)
    work.ack([delivery for delivery, intake in intakes if not intake.later])
    work.put_off([delivery for delivery, intake in intakes if intake.later])
