"""The pool of nasty values: generators for names, texts, and everything a repository is made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from functions.cvmfs.address import Address, Digest, HashAlgorithm, Kind
from functions.cvmfs.history import RESERVED_NAMES, Tag
from functions.cvmfs.manifest import Manifest
from functions.cvmfs.reflog import Reference, RefType
from functions.cvmfs.whitelist import OPTIONS, Whitelist, parse_fingerprint

U64 = 2**64 - 1
I64 = 2**63 - 1

NASTY_NAMES = (
    "plain.txt",
    " leading and trailing ",
    'quo"te',
    "it's",
    "''",
    "--",
    "back\\slash",
    "new\nline",
    "tab\there",
    "cr\r",
    "percent%2e%2e",
    "a;b,c|d&e$(f)`g`",
    "...",
    ".cvmfscatalog",
    ".cvmfs",
    "žluťoučký kůň",
    "e\u0301 and \u00e9",
    "\U0001d518 outside the first plane 🐫",
    "\u202eright to left",
    "\x01\x7f",
    "\udcff\udcfe",
    "half a caf\udcc3",
    "NULL",
    "x" * 255,
    "é" * 127,
    "\udc80" * 255,
)
"""File names that have broken something somewhere; all are legal in a POSIX directory and at most 255 bytes long."""


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _is_file_name(raw: bytes) -> bool:
    return raw not in {b".", b".."} and b"\0" not in raw and b"/" not in raw


file_names = st.one_of(
    st.sampled_from(NASTY_NAMES),
    st.binary(min_size=1, max_size=255).filter(_is_file_name).map(_decoded),
    st.text("ab-. é'\"", min_size=1, max_size=8).filter(lambda name: name not in {".", ".."}),
)
"""One component of a path, as `str` with undecodable bytes as surrogates."""

paths = st.lists(file_names, min_size=1, max_size=5).map(lambda names: "".join(f"/{name}" for name in names))
"""An absolute repository path, not the root."""

repository_names = st.one_of(
    st.sampled_from(["a.b", "alice.infn.it", "x" * 60 + ".example.org", "1-2_3.example"]),
    st.from_regex(r"[a-z0-9][a-z0-9_-]{0,30}(\.[a-z0-9-]{1,20}){1,3}", fullmatch=True),
)

xattrs = st.dictionaries(
    st.one_of(
        st.sampled_from(["user.origin", "security.capability", "user.\udcff", "k" * 255]),
        st.binary(min_size=1, max_size=255).filter(lambda raw: 0 not in raw).map(_decoded),
    ),
    st.one_of(st.binary(max_size=255), st.just(b"\xff" * 255)),
    max_size=6,
)

algorithms = st.sampled_from(HashAlgorithm)

digests = st.builds(
    Digest,
    algorithms,
    st.one_of(
        st.binary(min_size=20, max_size=20).filter(any),
        st.sampled_from([b"\xff" * 20, b"\n--\n" * 5, b"\0" * 19 + b"\1"]),
    ),
)
"""Any digest but the null one, which means "none" where it is allowed at all."""

addresses = st.builds(Address, digests, st.sampled_from(Kind))

numbers = st.one_of(st.sampled_from([0, 1, 2**31, 2**32, I64, U64]), st.integers(0, U64))

line_rests = st.one_of(
    st.sampled_from(["", "-", "--", " ", "\r", "a--b", "\udcff", "\0", "=x" * 100]),
    st.binary(max_size=40).filter(lambda raw: b"\n" not in raw).map(_decoded),
)
"""What may stand on a line after its first letter."""

unknown_fields = st.lists(
    st.tuples(st.sampled_from("EFILPQZa-= é\udcff"), line_rests).filter(lambda pair: "".join(pair) != "--"), max_size=4
).map(tuple)

manifests = st.builds(
    Manifest,
    root=digests,
    root_size=numbers,
    ttl=numbers,
    revision=numbers,
    garbage_collectable=st.booleans(),
    alternative_path=st.booleans(),
    fqrn=repository_names,
    certificate=st.none() | digests,
    history=st.none() | digests,
    published_at=numbers,
    metainfo=st.none() | digests,
    reflog=st.none() | digests,
    unknown=unknown_fields,
)

moments = st.one_of(
    st.sampled_from(
        [
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(2000, 2, 29, 23, 59, 59, tzinfo=UTC),
            datetime(9999, 12, 31, tzinfo=UTC),
        ]
    ),
    st.integers(0, 2**33).map(lambda seconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)),
)
"""Whole seconds, aware, in UTC."""

whitelists = st.builds(
    Whitelist,
    fqrn=repository_names,
    issued=moments,
    expires=moments,
    fingerprints=st.lists(digests, min_size=1, max_size=4).map(tuple),
    options=st.sets(st.sampled_from(OPTIONS)).map(lambda chosen: tuple(one for one in OPTIONS if one in chosen)),
    remarks=st.lists(line_rests.filter(lambda line: line != "--" and parse_fingerprint(line) is None), max_size=3).map(
        tuple
    ),
)

texts = st.one_of(
    st.sampled_from(["", "first release", 'it\'s "quoted"', "two\nlines", "🐫", "'; DROP TABLE tags; --"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40),
)
"""Text as people write it: anything but NUL and broken Unicode."""

tag_names = st.one_of(
    st.sampled_from(["v1", "generic-2026-11-23T03:25:31Z", "a/b", "-", ".", "trunk-", "Trunk"]),
    st.from_regex(r"[A-Za-z0-9_./:-]{1,60}", fullmatch=True),
).filter(lambda name: name not in RESERVED_NAMES)

signed_numbers = st.one_of(st.sampled_from([0, 1, 2**31, 2**32, I64]), st.integers(0, I64))

tags = st.builds(
    Tag,
    name=tag_names,
    root=digests,
    size=signed_numbers,
    revision=signed_numbers,
    timestamp=signed_numbers,
    description=texts,
)

references = st.builds(Reference, digests, st.sampled_from(RefType), signed_numbers)
