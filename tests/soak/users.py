"""Users at work: threads that carry out operations with their own S3 clients, and a record of what each one did."""

from __future__ import annotations

import json
import math
import threading
import time
from dataclasses import replace

from botocore.exceptions import BotoCoreError, ClientError

from functions.local.servers.s3_setup import client

AGAIN_S = 0.5


class Trace:
    """Everything that was done to every key, in memory and as lines of JSON in a file."""

    def __init__(self, path):
        self._lock = threading.Lock()
        self._file = path.open("a")
        self._by_key = {}
        self.done = 0
        self.tried_again = 0

    def close(self):
        self._file.close()

    def note(self, bucket, key, what, **more):
        line = {"at": round(time.time(), 3), "bucket": bucket, "key": key, "what": what, **more}
        with self._lock:
            self._by_key.setdefault((bucket, key), []).append(line)
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()

    def of(self, bucket, key):
        """What happened to one key, in order."""
        with self._lock:
            return list(self._by_key.get((bucket, key), ()))

    def all_keys(self):
        with self._lock:
            return list(self._by_key)


class Crowd:
    """Users who share the operations of one model: whoever is free takes the next one, at a pace per second."""

    def __init__(self, model, repositories, trace, *, pace):
        self._model = model
        self._repositories = repositories
        self._trace = trace
        self._pace = pace
        self._lock = threading.Lock()
        self._limit = 0
        self._taken = 0
        self._next_at = time.monotonic()
        self._gone = threading.Event()
        self._threads = []
        self.allowed = math.inf
        """Operations that may have begun by now; who wants to begin more waits."""
        self.faults = []

    @property
    def taken(self):
        return self._taken

    def start(self, users, operations):
        """Let so many users begin on so many operations."""
        self._limit = operations
        for number in range(users):
            thread = threading.Thread(target=self._work, name=f"user {number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def finish(self, operations):
        """Stop when so many operations are done in all."""
        self._limit = operations

    def working(self):
        return any(thread.is_alive() for thread in self._threads)

    def stop(self):
        """No further operations; those that were begun are finished."""
        self._gone.set()
        self.join()

    def join(self):
        for thread in self._threads:
            thread.join()
        if self.faults:
            raise self.faults[0]

    def _take(self):
        while self._taken >= self.allowed and not self._gone.is_set():
            time.sleep(0.05)
        with self._lock:
            if self._taken >= self._limit or self._gone.is_set():
                return None
            self._taken += 1
            operation = self._model.next()
            wait_s = self._next_at - time.monotonic()
            self._next_at = max(self._next_at, time.monotonic()) + 1 / self._pace
        if wait_s > 0:
            time.sleep(wait_s)
        return operation

    def _work(self):
        clients = {}
        try:
            while (operation := self._take()) is not None:
                repository = self._repositories[operation.repository]
                if repository.name not in clients:
                    clients[repository.name] = client("s3", repository.endpoint, repository.account)
                self._carry_out(clients[repository.name], repository.name, operation)
        except Exception as err:  # noqa: BLE001 - told by join
            self.faults.append(err)

    def _carry_out(self, s3, bucket, operation):
        if operation.source and operation.source == operation.key:
            self._copy(s3, bucket, operation)
        elif operation.source:
            if self._copy(s3, bucket, operation):
                self._delete(s3, bucket, operation.source, operation)
        elif operation.body is None:
            self._delete(s3, bucket, operation.key, operation)
        else:
            etag = self._insist(
                lambda: s3.put_object(
                    Bucket=bucket, Key=operation.key, Body=operation.body, Metadata=operation.metadata
                )["ETag"]
            )
            self._note(bucket, operation.key, "put", operation, etag=etag.strip('"'), size=len(operation.body))
            if operation.then:
                self._copy(s3, bucket, replace(operation, source=operation.key, metadata=operation.then))

    def _copy(self, s3, bucket, operation):
        replacing = operation.source == operation.key
        more = {"Metadata": operation.metadata, "MetadataDirective": "REPLACE"} if replacing else {}
        try:
            answer = self._insist(
                lambda: s3.copy_object(
                    Bucket=bucket, Key=operation.key, CopySource={"Bucket": bucket, "Key": operation.source}, **more
                )
            )
        except ClientError as err:
            if err.response["Error"]["Code"] not in {"NoSuchKey", "404"}:
                raise
            return False  # another user has deleted it
        etag = answer["CopyObjectResult"]["ETag"].strip('"')
        self._note(bucket, operation.key, "copy", operation, etag=etag, source=operation.source)
        return True

    def _delete(self, s3, bucket, key, operation):
        self._insist(lambda: s3.delete_object(Bucket=bucket, Key=key))
        self._note(bucket, key, "delete", operation)

    def _note(self, bucket, key, what, operation, **more):
        self._trace.note(bucket, key, what, number=operation.number, kind=operation.kind.name, **more)
        self._trace.done += 1

    def _insist(self, ask):
        """Ask until there is an answer: RadosGW may be down for a while."""
        while True:
            try:
                return ask()
            except ClientError as err:
                if err.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                    raise
            except BotoCoreError:
                pass
            self._trace.tried_again += 1
            time.sleep(AGAIN_S)
