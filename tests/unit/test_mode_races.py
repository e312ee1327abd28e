"""An object is copied onto itself with another mode, as ``chmod`` on s3fs does it, while functions look at it."""

from __future__ import annotations

from datetime import timedelta

import pytest

pytestmark = pytest.mark.usefixtures("alices_repository")

KEY = "cvmfs/tool"


def mode_of(world):
    with world.reader() as snapshot:
        return oct(snapshot.lookup("/tool").mode)


def test_of_two_who_look_within_a_second_the_slower_one_does_not_have_the_last_word(world):
    second = world.clock.now

    def put(**metadata):
        world.source.put("alice", KEY, b"text", metadata=metadata, modified=second)
        world.notify("ObjectCreated:Put", KEY)

    send = world.bus.send_changes

    def send_late(fqrn, bodies):
        """Somebody changes the mode, and another function tells of it, before we tell what we have read."""
        world.bus.send_changes = send
        put(mode="100755")
        world.deliver("handle-bucket-notification")
        return send(fqrn, bodies)

    put()
    world.bus.send_changes = send_late
    world.run_until_quiet()
    assert mode_of(world) == "0o100755"


def test_only_an_object_of_this_moment_costs_a_second_look(world):
    looked = []
    head = world.source.head

    def looks(age):
        world.upload(KEY, b"text")
        world.clock.now += age
        world.source.head = lambda bucket, key: looked.append(key) or head(bucket, key)
        assert world.deliver("handle-bucket-notification")
        world.source.head = head
        told, looked[:] = len(looked), []
        return told

    assert looks(timedelta()) == looks(timedelta(seconds=10)) + 1
