"""Hypothesis strategies for events, with the values that hurt: long names, odd keys, bytes that are not UTF-8."""

from __future__ import annotations

from hypothesis import strategies as st

from events import (
    EVENT_CLASSES,
    PATHS_LIMIT,
    BucketReconciled,
    CollectionRequested,
    DeletionRequested,
    Event,
    GarbageCollected,
    Keys,
    ReconciliationRequested,
    ReleaseRequested,
    RenewalRequested,
    RepositoryChanged,
    RepositoryCreated,
    RepositoryDeleted,
    RepositoryKeysStored,
    RepositoryPublished,
    RepositoryRefused,
    RepositoryRequested,
    RepositoryResumed,
    RepositoryRolledBack,
    RepositorySuspended,
    RequestRefused,
    ResumptionRequested,
    RollbackReleased,
    RollbackRequested,
    SettingsChanged,
    SettingsRequested,
    SuspensionRequested,
    TagAction,
    TagChanged,
    TagRequested,
    UploadRefused,
    WhitelistResigned,
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
tags = _matching(names.TAG_PATTERN).filter(lambda name: len(name) <= names.TAG_LIMIT)
settings = st.dictionaries(texts, st.none() | st.booleans() | counts | texts | st.floats(0, 9), min_size=1, max_size=4)
actions = st.sampled_from(TagAction)
groups = st.none() | _matching(names.GROUP_PATTERN)
reply_queues = st.none() | st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}_reply", fullmatch=True)

_PERSON = {"repository": fqrns, "username": usernames, "subject": subjects, "reply_queue": reply_queues}
_REQUEST = {**_PERSON, "group": groups, "issuer": urls | st.just("")}
_WISH = {"repository": fqrns, "request": _matching(names.REQUEST_PATTERN), "requested_by": nasty_texts}
_FACT = {"repository": fqrns, "request": _matching(names.REQUEST_PATTERN)}
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
        "again": st.booleans(),
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
    TagRequested: {
        **_WISH,
        "action": actions,
        "name": tags,
        "description": nasty_texts,
        "revision": st.none() | counts,
    },
    TagChanged: {
        **_FACT,
        "action": actions,
        "name": tags,
        "revision": st.none() | counts,
        "root_hash": st.none() | hashes,
    },
    RollbackRequested: {**_WISH, "tag": st.none() | tags},
    RepositoryRolledBack: {
        **_FACT,
        "revision": counts,
        "root_hash": hashes,
        "target": counts,
        "tag": st.none() | tags,
        "held_before": counts,
        "removed_tags": st.lists(nasty_texts, max_size=3),
    },
    ReleaseRequested: _WISH,
    RollbackReleased: {**_FACT, "revision": counts, "root_hash": hashes},
    SuspensionRequested: {**_WISH, "reason": nasty_texts},
    RepositorySuspended: {**_FACT, "reason": nasty_texts},
    ResumptionRequested: _WISH,
    RepositoryResumed: _FACT,
    SettingsRequested: {**_WISH, "changes": settings},
    SettingsChanged: {**_FACT, "changes": settings},
    RepositoryDeleted: {**_FACT, "last_revision": counts, "objects": counts, "keys": st.sampled_from(Keys)},
    RequestRefused: {
        "repository": fqrns,
        "request": filled_texts,
        "wanted": st.just("tag.requested"),
        "code": codes,
        "reason": filled_texts,
        "hint": nasty_texts,
    },
    RenewalRequested: {**_WISH, "if_due": st.booleans()},
    WhitelistResigned: {"repository": fqrns, "expires_at": counts},
    CollectionRequested: {**_WISH, "if_possible": st.booleans()},
    GarbageCollected: {
        "repository": fqrns,
        "collected_at": counts,
        "objects": counts,
        "bytes": counts,
        "kept_roots": counts,
        "condemned_roots": counts,
        "complete": st.booleans(),
    },
}


def events_of(event_class: type[Event]) -> st.SearchStrategy[Event]:
    """Any event of one class."""
    if event_class is DeletionRequested:
        return fqrns.flatmap(
            lambda fqrn: st.builds(
                DeletionRequested,
                **(_WISH | {"repository": st.just(fqrn), "confirm": st.just(fqrn), "keys": st.sampled_from(Keys)}),
            )
        )
    return st.builds(event_class, **_FIELDS[event_class])


def any_event() -> st.SearchStrategy[Event]:
    """Any event of any class in the catalogue."""
    return st.one_of([events_of(event_class) for event_class in EVENT_CLASSES.values()])
