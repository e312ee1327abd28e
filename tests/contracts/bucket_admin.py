"""What every BucketAdmin does."""

import pytest

from functions.errors import StoreUnavailable


class BucketAdminContract:
    """Subclasses give `admin`, `broken_admin`, and `world`.

    `world` has bucket, a name nobody has used; owner, a user of the store; make_bucket() and remove_bucket(), by that
    owner; owner_of(bucket); and watched(bucket), the number of notifications of ours on it.
    """

    def test_a_bucket_exists_once_its_owner_has_made_it(self, admin, world):
        assert not admin.exists(world.bucket)
        world.make_bucket()
        assert admin.exists(world.bucket)

    def test_a_missing_bucket_is_made_for_its_owner(self, admin, world):
        admin.ensure_bucket(world.bucket, world.owner)
        assert admin.exists(world.bucket)
        assert world.owner_of(world.bucket) == world.owner

    def test_making_it_again_is_fine(self, admin, world):
        admin.ensure_bucket(world.bucket, world.owner)
        admin.ensure_bucket(world.bucket, world.owner)
        assert world.owner_of(world.bucket) == world.owner

    def test_a_bucket_that_exists_stays_with_its_owner(self, admin, world):
        world.make_bucket()
        admin.ensure_bucket(world.bucket, "somebody-else")
        assert world.owner_of(world.bucket) == world.owner

    def test_a_bucket_is_watched_once_however_often_it_is_asked_for(self, admin, world):
        world.make_bucket()
        assert world.watched(world.bucket) == 0
        assert admin.ensure_notifications(world.bucket) is True
        assert admin.ensure_notifications(world.bucket) is False
        assert world.watched(world.bucket) == 1

    def test_a_bucket_that_is_not_watched_any_more_can_be_watched_again(self, admin, world):
        world.make_bucket()
        admin.ensure_notifications(world.bucket)
        for _ in range(2):
            admin.remove_notifications(world.bucket)
            assert world.watched(world.bucket) == 0
        admin.ensure_notifications(world.bucket)
        assert world.watched(world.bucket) == 1

    def test_a_bucket_that_was_never_watched_or_is_not_there_needs_no_end_of_it(self, admin, world):
        admin.remove_notifications(world.bucket)
        world.make_bucket()
        admin.remove_notifications(world.bucket)
        assert admin.exists(world.bucket)

    def test_a_bucket_that_is_made_anew_is_another_one(self, admin, world):
        assert admin.identity(world.bucket) is None
        world.make_bucket()
        first = admin.identity(world.bucket)
        assert first
        assert admin.identity(world.bucket) == first
        world.remove_bucket()
        assert admin.identity(world.bucket) is None
        world.make_bucket()
        assert admin.identity(world.bucket) not in {first, None}

    def test_a_bucket_that_does_not_exist_cannot_be_watched(self, admin, world):
        with pytest.raises(StoreUnavailable):
            admin.ensure_notifications(world.bucket)

    def test_a_store_that_does_not_answer_says_so(self, broken_admin):
        for attempt in (
            lambda: broken_admin.exists("bucket"),
            lambda: broken_admin.identity("bucket"),
            lambda: broken_admin.ensure_bucket("bucket", "owner"),
            lambda: broken_admin.ensure_notifications("bucket"),
            lambda: broken_admin.remove_notifications("bucket"),
        ):
            with pytest.raises(StoreUnavailable):
                attempt()
