"""A reconciliation in its plainest form beside the real one: everything is looked at, whether it differs or not."""

from functions.publishing.sources import source_key
from tests.world import World


def settle(world: World) -> None:
    """Deliver everything, the reconciliations that the functions ask each other for among it."""
    world.run_until_quiet()


def look_at(world: World, prefix: str = "cvmfs/", fqrn: str = "alice.infn.it") -> None:
    """Notify all keys that begin so, in the bucket, in the repository, and in the problems."""
    bucket = fqrn.partition(".")[0]
    keys = {info.key for info in world.source.list(bucket, prefix)} | set(world.problems(fqrn))
    with world.reader(fqrn) as snapshot:
        keys |= {key for path, entry in snapshot.walk() if (key := source_key(path, entry)) is not None}
    found = sorted(key for key in keys if key.startswith(prefix))
    if found:
        world.notify("ObjectCreated:Put", *found, bucket=bucket)
