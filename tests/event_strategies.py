"""Hypothesis strategies for events, with the values that hurt: long names, odd keys, bytes that are not UTF-8."""

from __future__ import annotations

from hypothesis import strategies as st

from events import (
    EVENT_CLASSES,
    PATHS_LIMIT,
    BucketReconciled,
    Event,
    ReconciliationRequested,
    RepositoryChanged,
    RepositoryCreated,
    RepositoryKeysStored,
    RepositoryPublished,
    RepositoryRefused,
    RepositoryRequested,
    UploadRefused,
    names,
)

_PEM_BODY = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n/+AQ=="


def _pem(label: str) -> str:
    return f"-----BEGIN {label}-----\n{_PEM_BODY}\n-----END {label}-----\n"


def _matching(pattern: str) -> st.SearchStrategy[str]:
    """Whole matches, without the newline that Python's ``$`` would let through."""
    return st.from_regex(pattern, fullmatch=True).filter(lambda text: not text.endswith("\n"))


fqrns = _matching(names.FQRN_PATTERN).filter(lambda name: len(name) <= names.FQRN_LIMIT)
texts = st.text(st.characters(codec="utf-8"), max_size=40)
nasty_texts = st.one_of(
    texts,
    st.sampled_from(["a\x00b", "line\nbreak", "ü€\U0001f600", "a,b;c", "\u202eevil", "\ufffd", "%2e%2e/", '"quoted"']),
)
filled_texts = nasty_texts.filter(bool)
urls = st.from_regex(r"https?://[a-z0-9.]{1,20}(:[0-9]{1,4})?/[!-~]{0,20}", fullmatch=True)
hashes = st.from_regex(r"[0-9a-f]{40}(-rmd160|-shake128)?", fullmatch=True)
etags = st.from_regex(r"([0-9a-f]{32}(-[0-9]{1,4})?)?", fullmatch=True)
codes = st.from_regex(r"[a-z0-9]{1,9}(-[a-z0-9]{1,9}){0,3}", fullmatch=True)
counts = st.integers(min_value=0, max_value=2**63 - 1)
buckets = _matching(names.BUCKET_PATTERN)
subjects = _matching(names.SUBJECT_PATTERN)
usernames = _matching(names.USERNAME_PATTERN)
groups = st.none() | _matching(names.GROUP_PATTERN)
reply_queues = st.none() | st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}_reply", fullmatch=True)

_PERSON = {"repository": fqrns, "username": usernames, "subject": subjects, "reply_queue": reply_queues}
_REQUEST = {**_PERSON, "group": groups, "issuer": urls | st.just("")}
_PUBLIC_KEY = st.just(_pem("PUBLIC KEY"))

_FIELDS: dict[type[Event], dict[str, st.SearchStrategy]] = {
    RepositoryRequested: _REQUEST,
    RepositoryKeysStored: {**_REQUEST, "public_key": _PUBLIC_KEY, "certificate": st.just(_pem("CERTIFICATE"))},
    RepositoryCreated: {
        **_PERSON,
        "group": groups,
        "bucket": buckets,
        "url": urls,
        "revision": counts,
        "root_hash": hashes,
        "public_key": _PUBLIC_KEY,
    },
    RepositoryRefused: {**_PERSON, "code": codes, "reason": filled_texts, "hint": nasty_texts},
    RepositoryChanged: {"repository": fqrns, "cause": filled_texts},
    RepositoryPublished: {
        "repository": fqrns,
        "revision": counts,
        "root_hash": hashes,
        "published_at": counts,
        "changes": counts,
        "paths": st.lists(nasty_texts, max_size=5) | st.just(["/p"] * PATHS_LIMIT),
        "url": urls,
    },
    UploadRefused: {
        "repository": fqrns,
        "bucket": buckets,
        "key": filled_texts,
        "etag": etags,
        "code": codes,
        "reason": filled_texts,
        "hint": nasty_texts,
    },
    ReconciliationRequested: {
        "repository": fqrns,
        "cause": filled_texts,
        "prefix": nasty_texts,
        "start_after": nasty_texts,
        "allow_empty": st.booleans(),
    },
    BucketReconciled: {
        "repository": fqrns,
        "cause": filled_texts,
        "prefix": nasty_texts,
        "objects": counts,
        "entries": counts,
        "differences": counts,
        "refused": counts,
        "seconds": st.floats(min_value=0, allow_infinity=False),
    },
}


def events_of(event_class: type[Event]) -> st.SearchStrategy[Event]:
    """Any event of one class."""
    return st.builds(event_class, **_FIELDS[event_class])


def any_event() -> st.SearchStrategy[Event]:
    """Any event of any class in the catalogue."""
    return st.one_of([events_of(event_class) for event_class in EVENT_CLASSES.values()])
