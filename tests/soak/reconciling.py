"""Holding a repository against its bucket: by the service's own function where there is one, else by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import events
from functions.publishing.records import open_problems
from tests.soak.tap import NOTIFICATIONS
from tests.soak.watching import properties

STEP = "reconcile-bucket"


def has_function(world):
    return hasattr(events, "ReconciliationRequested") and f"fn.{STEP}" in world.queues()


def reconcile(world, repo, keys, cause):
    """Ask the service, or tell it to look at every key that the bucket, the catalogs or the problems name."""
    if has_function(world):
        request = events.ReconciliationRequested(repository=repo.fqrn, cause=cause)
        world.cloud.bus.publish([request.to_cloudevent(source="/soak", time=datetime.now(UTC))])
        return
    keys = keys | {problem.key for problem in open_problems(world.cloud.state, repo.fqrn)}
    with world.connection() as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for key in sorted(keys):
            record = {
                "eventName": "ObjectCreated:Put",
                "eventTime": datetime.now(UTC).isoformat(),
                "s3": {"bucket": {"name": repo.name}, "object": {"key": key, "sequencer": "0" * 16}},
            }
            channel.basic_publish("", NOTIFICATIONS, json.dumps({"Records": [record]}).encode(), properties())
