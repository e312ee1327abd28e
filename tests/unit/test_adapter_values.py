"""The small rules that adapters share: which paths can be kept, and what a parked message says."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore
from pydantic import SecretStr

from functions.adapters.parked import VALUE_LIMIT, parked_headers
from functions.adapters.paths import checked, is_plain
from functions.adapters.s3_connection import S3Connection
from functions.errors import Permanent

NOW = datetime(2026, 3, 1, 12, 0, 5, 123, tzinfo=UTC)
nasty_text = st.one_of(
    st.text(),
    st.lists(st.sampled_from(["", ".", "..", "a", "\u00e9", " ", "%41", "+", "\n", "\x7f", "\udcff"])).map("/".join),
)


@given(nasty_text)
def test_a_plain_path_is_one_that_obstore_keeps_as_it_is(path):
    store = MemoryStore()
    try:
        store.put(path, b"1")
        kept = [meta["path"] for page in store.list() for meta in page] == [path]
    except (ValueError, UnicodeEncodeError):
        kept = False
    assert is_plain(path) == (kept and path != "")


@given(nasty_text)
def test_a_checked_path_is_returned_or_refused(path):
    if is_plain(path):
        assert checked(path) == path
    else:
        with pytest.raises(Permanent):
            checked(path)


@given(st.text(), st.dictionaries(st.sampled_from(["x-a", "x-b"]), st.text()))
def test_headers_of_a_parked_message_can_always_be_sent(reason, headers):
    told = parked_headers("store-keys", reason, now=NOW, headers=headers)
    assert set(told) == {*headers, "x-parked-step", "x-parked-reason", "x-parked-at"}
    for value in told.values():
        assert len(value) <= VALUE_LIMIT
        value.encode()


def test_a_short_reason_is_kept_word_for_word():
    told = parked_headers("store-keys", "no caf\u00e9", now=NOW, headers={})
    assert told == {
        "x-parked-step": "store-keys",
        "x-parked-reason": "no caf\u00e9",
        "x-parked-at": "2026-03-01T12:00:05+00:00",
    }


@pytest.mark.parametrize("kind", ["boto3_client", "objects"])
def test_threads_that_ask_for_their_first_client_at_once_get_one_between_them(kind):
    connection = S3Connection(endpoint="http://127.0.0.1:9", region="r", access_key=kind, secret_key=SecretStr("s"))
    together = threading.Barrier(8)

    def ask(_):
        together.wait()
        return getattr(connection, kind)()

    with ThreadPoolExecutor(8) as threads:
        clients = list(threads.map(ask, range(8)))
    assert len(set(map(id, clients))) == 1
