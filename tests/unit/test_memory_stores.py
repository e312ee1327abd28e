"""The stores in memory keep the contracts of the real ones."""

import pytest

from functions.adapters.memory import MemoryBlobStore, MemoryBucketAdmin, MemoryObjectSource
from tests.contracts.blob_store import BlobStoreContract
from tests.contracts.bucket_admin import BucketAdminContract
from tests.contracts.object_source import ObjectSourceContract


class TestMemoryBlobStore(BlobStoreContract):
    @pytest.fixture
    def store(self):
        return MemoryBlobStore()

    @pytest.fixture
    def broken_store(self):
        store = MemoryBlobStore()
        store.available = False
        return store


class MemoryUsers:
    bucket = "einstein"

    def __init__(self, source):
        self.source = source
        source.make_bucket(self.bucket)

    def put(self, key, body, metadata=None):
        self.source.put(self.bucket, key, body, metadata=metadata)

    def delete(self, key):
        self.source.delete(self.bucket, key)


class TestMemoryObjectSource(ObjectSourceContract):
    @pytest.fixture
    def source(self):
        return MemoryObjectSource()

    @pytest.fixture
    def users(self, source):
        return MemoryUsers(source)

    @pytest.fixture
    def broken_source(self):
        source = MemoryObjectSource()
        source.available = False
        return source


class MemoryWorld:
    bucket = "einstein"
    owner = "albert"

    def __init__(self, admin):
        self._admin = admin

    def make_bucket(self):
        self._admin.ensure_bucket(self.bucket, self.owner)

    def remove_bucket(self):
        self._admin.source.remove_bucket(self.bucket)

    def owner_of(self, bucket):
        return self._admin.owners[bucket]

    def watched(self, bucket):
        return int(bucket in self._admin.notified)


class TestMemoryBucketAdmin(BucketAdminContract):
    @pytest.fixture
    def admin(self):
        return MemoryBucketAdmin(MemoryObjectSource())

    @pytest.fixture
    def world(self, admin):
        return MemoryWorld(admin)

    @pytest.fixture
    def broken_admin(self):
        return MemoryBucketAdmin(MemoryObjectSource(), available=False)
