"""A reconciliation in its plainest form: every object is looked at, and all that is published or has a problem."""

from functions.publishing.sources import source_key
from tests.world import World


def settle(world: World, *, most: int = 20) -> None:
    """Deliver everything, and whenever a reconciliation was asked for, look at all that it is about."""
    answered = 0
    for _ in range(most):
        world.run_until_quiet()
        asked = [event for event in world.bus.published if event["type"].endswith("reconciliation.requested")]
        if len(asked) == answered:
            return
        for event in asked[answered:]:
            data = event.get_data()
            look_at(world, "cvmfs/" + data["prefix"], data["repository"])
        answered = len(asked)
    raise AssertionError(f"still asking for reconciliations: {[event.get_data() for event in asked[-3:]]}")


def look_at(world: World, prefix: str = "cvmfs/", fqrn: str = "alice.infn.it") -> None:
    """Notify all keys that begin so, in the bucket, in the repository, and in the problems."""
    bucket = fqrn.partition(".")[0]
    keys = {info.key for info in world.source.list(bucket, prefix)} | set(world.problems(fqrn))
    with world.reader(fqrn) as snapshot:
        keys |= {key for path, entry in snapshot.walk() if (key := source_key(path, entry)) is not None}
    found = sorted(key for key in keys if key.startswith(prefix))
    if found:
        world.notify("ObjectCreated:Put", *found, bucket=bucket)
