"""Everything that is written is read as it was meant, everything that is read is written as it was, and nobody can
change a signed byte unnoticed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.cvmfs.address import Address, Digest, Kind
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.chunks import ChunkLimits, cut_marks, split
from functions.cvmfs.compression import Codec, Compression, compress, decompress
from functions.cvmfs.entry import decode_text, encode_text, pack_xattrs, unpack_xattrs
from functions.cvmfs.errors import FormatError, HashMismatch
from functions.cvmfs.history import RESERVED_NAMES, History
from functions.cvmfs.manifest import Manifest, SignedManifest
from functions.cvmfs.objects import pack, unpack
from functions.cvmfs.reflog import Reference, Reflog
from functions.cvmfs.signing import KeySigner
from functions.cvmfs.whitelist import SignedWhitelist, Whitelist, parse_fingerprint, render_fingerprint
from tests import strategies as some
from tests.golden import NOW, golden

SIGNER = KeySigner(golden("sha1").signing_key, golden("sha1").master_key)
CERTIFICATE = Certificate.from_pem(golden("sha1").certificate)
PUBLIC_KEYS = [golden("sha1").public_key]

unhurried = settings(deadline=None)
signing = settings(deadline=None, max_examples=50)


@given(some.digests)
@unhurried
def test_a_hash_string_is_read_as_it_was_written(digest):
    assert Digest.parse(str(digest)) == digest


@given(some.addresses)
@unhurried
def test_an_address_is_found_again_in_its_text_and_its_path(address):
    assert Address.parse(str(address)) == address
    assert Address.from_path(address.path) == address


@given(st.text("0123456789abcdefABCDEFP-rmdshake1268X", max_size=60))
@unhurried
def test_a_text_that_reads_as_an_address_is_written_as_it_was(text):
    try:
        address = Address.parse(text)
    except FormatError:
        return
    assert str(address) == text


@given(
    st.binary(max_size=2000), st.sampled_from(Compression), st.sampled_from(["zlib", "libdeflate"]), st.integers(1, 9)
)
@unhurried
def test_content_survives_being_stored(content, compression, library, level):
    stored = compress(content, compression, Codec(library, level))
    assert decompress(stored, compression) == content
    assert decompress(stored, compression, limit=len(content)) == content


@given(st.binary(max_size=500), st.sampled_from(Kind), some.algorithms, st.data())
@unhurried
def test_a_changed_byte_of_an_object_is_always_noticed(content, kind, algorithm, data):
    stored = pack(content, kind, algorithm)
    assert unpack(stored.address, stored.body) == content
    with pytest.raises(HashMismatch):
        unpack(stored.address, changed(data, stored.body))


@given(st.binary(max_size=300))
@unhurried
def test_names_of_any_bytes_survive_as_text(raw):
    assert encode_text(decode_text(raw)) == raw


@given(some.xattrs)
@unhurried
def test_attributes_are_read_as_they_were_written(xattrs):
    assert unpack_xattrs(pack_xattrs(xattrs)) == xattrs


@given(st.builds(bytes.__add__, st.sampled_from([b"\1", b"\2"]), st.binary(max_size=60)) | st.binary(max_size=20))
@unhurried
def test_an_attribute_blob_is_read_or_refused_and_written_with_the_same_meaning(blob):
    try:
        xattrs = unpack_xattrs(blob)
    except FormatError:
        return
    try:
        again = pack_xattrs(xattrs)
    except FormatError:
        assert any("\0" in name for name in xattrs)
        return
    assert unpack_xattrs(again) == xattrs


@given(some.manifests)
@unhurried
def test_a_manifest_is_read_as_it_was_written(manifest):
    assert Manifest.parse(manifest.body()) == manifest


@given(st.lists(st.sampled_from([b"S1", b"S007", b"C" + b"a" * 40, b"D5", b"Na.b", b"Zx", b"-", b"--", b"", b"T"])))
@unhurried
def test_a_manifest_that_can_be_read_is_written_with_the_same_meaning(lines):
    body = b"Rd41d8cd98f00b204e9800998ecf8427e\n" + b"".join(line + b"\n" for line in lines)
    try:
        manifest = Manifest.parse(body)
    except FormatError:
        return
    assert Manifest.parse(manifest.body()) == manifest


@given(some.manifests)
@signing
def test_a_signed_manifest_verifies_and_is_written_as_it_was_read(manifest):
    blob = manifest.sign(SIGNER).to_bytes()
    signed = SignedManifest.from_bytes(blob)
    assert signed.verify(CERTIFICATE) == manifest
    assert signed.to_bytes() == blob


@given(some.manifests, st.data())
@signing
def test_a_changed_byte_of_a_signed_manifest_is_always_noticed(manifest, data):
    blob = manifest.sign(SIGNER).to_bytes()
    with pytest.raises(FormatError):
        SignedManifest.from_bytes(changed(data, blob)).verify(CERTIFICATE)


@given(some.whitelists)
@unhurried
def test_a_whitelist_is_read_as_it_was_written(whitelist):
    assert Whitelist.parse(whitelist.body()) == whitelist


@given(some.whitelists, some.algorithms)
@signing
def test_a_signed_whitelist_verifies_and_is_written_as_it_was_read(whitelist, algorithm):
    blob = whitelist.sign(SIGNER, algorithm).to_bytes()
    signed = SignedWhitelist.from_bytes(blob)
    before = whitelist.valid_until.replace(year=max(1, whitelist.valid_until.year - 1), day=1)
    if before < whitelist.valid_until:
        assert signed.verify(PUBLIC_KEYS, fqrn=whitelist.fqrn, now=before) == whitelist
    assert signed.unverified == whitelist
    assert signed.to_bytes() == blob


@given(some.repository_names, some.digests, some.algorithms, st.data())
@signing
def test_a_changed_byte_of_a_signed_whitelist_is_always_noticed(fqrn, fingerprint, algorithm, data):
    signed = Whitelist.make(fqrn, [fingerprint], now=NOW).sign(SIGNER, algorithm)
    signed.verify(PUBLIC_KEYS, fqrn=fqrn, now=NOW)
    with pytest.raises(FormatError):
        SignedWhitelist.from_bytes(changed(data, signed.to_bytes())).verify(PUBLIC_KEYS, fqrn=fqrn, now=NOW)


@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda raw: raw + b"\n--\n" + raw))
@unhurried
def test_any_bytes_are_a_signed_file_or_refused_with_a_format_error(blob):
    for read in (SignedManifest.from_bytes, SignedWhitelist.from_bytes):
        with pytest.raises(FormatError):
            _ = read(blob).unverified


@given(some.digests)
@unhurried
def test_a_fingerprint_is_read_as_it_was_written(digest):
    assert parse_fingerprint(render_fingerprint(digest)) == digest


@given(
    some.repository_names,
    st.lists(some.tags, max_size=6, unique_by=lambda tag: tag.name),
    st.none() | some.digests,
)
@unhurried
def test_a_history_is_read_as_it_was_written(fqrn, tags, previous):
    history = History.new(fqrn)
    for tag in tags:
        history.add(tag)
    history.previous_revision = previous
    image = history.to_bytes()
    again = History.from_bytes(image)
    assert (again.fqrn, again.previous_revision, again.tags()) == (fqrn, previous, history.tags())
    assert again.to_bytes() == image


@given(st.lists(st.tuples(some.digests, st.none() | some.tag_names, some.texts), min_size=1, max_size=6))
@unhurried
def test_publishing_always_leaves_trunk_on_the_newest_and_loses_no_name(revisions):
    history = History.new("a.b")
    expected = {}
    for revision, (root, name, description) in enumerate(revisions, start=1):
        name = None if name in expected else name  # noqa: PLW2901
        history.publish(root, revision, revision, revision, name=name, description=description)
        if name is not None:
            expected[name] = (root, revision, description)
    again = History.from_bytes(history.to_bytes())
    found = {tag.name: (tag.root, tag.revision, tag.description) for tag in again.tags()}
    assert {name: tag for name, tag in found.items() if name not in RESERVED_NAMES} == expected
    assert found["trunk"] == (revisions[-1][0], len(revisions), "current HEAD")
    if len(revisions) > 1:
        assert found["trunk-previous"] == (revisions[-2][0], len(revisions) - 1, "default undo target")
    else:
        assert "trunk-previous" not in found
    assert again.check() == []


@given(some.repository_names, st.lists(st.tuples(st.booleans(), st.integers(0, 9), some.references), max_size=20))
@unhurried
def test_a_reflog_is_a_dictionary_that_survives_being_stored(fqrn, edits):
    reflog, expected = Reflog.new(fqrn), {}
    pool = [reference.digest for _, _, reference in edits]
    for keep, pick, reference in edits:
        digest = pool[pick % len(pool)]
        if keep:
            reflog.add(digest, reference.type, reference.timestamp)
            expected[digest] = Reference(digest, reference.type, reference.timestamp)
        else:
            reflog.remove(digest)
            expected.pop(digest, None)
        if pick == 0:
            reflog = Reflog.from_bytes(reflog.to_bytes(), fqrn=fqrn)
    again = Reflog.from_bytes(reflog.to_bytes(), fqrn=fqrn)
    assert {entry.digest: entry for entry in again.entries()} == expected
    assert len(again.entries()) == len(expected)
    assert all(again.contains(digest) == (digest in expected) for digest in pool)


def slow_marks(data: bytes, limits: ChunkLimits) -> list[int]:
    """The rolling value byte by byte, restarted after every cut, as the format describes it."""
    marks: list[int] = []
    last = 0
    while True:
        value, cut = 0, None
        for position in range(last + limits.minimum - 32, min(last + limits.maximum, len(data))):
            value = (value << 1 ^ data[position]) & 0xFFFFFFFF
            if position >= last + limits.minimum:
                distance = (value - 0x7FFFFFFF + 2**31) % 2**32 - 2**31
                # the most negative number has no absolute value in 32 bits; here it is never close
                if abs(distance) < limits.threshold:
                    cut = position
                    break
        if cut is None and last + limits.maximum < len(data):
            cut = last + limits.maximum
        if cut is None:
            return marks
        marks.append(cut)
        last = cut


chunk_limits = st.tuples(st.integers(32, 60), st.integers(1, 60), st.integers(1, 200)).map(
    lambda sizes: ChunkLimits(sizes[0], sizes[0] + sizes[1], sizes[0] + sizes[1] + sizes[2])
)
chunk_data = st.one_of(
    st.binary(max_size=1200),
    st.tuples(st.binary(min_size=1, max_size=7), st.integers(1, 300)).map(lambda pair: pair[0] * pair[1]),
    st.randoms(use_true_random=False).map(lambda random: random.randbytes(3000)),
    st.sampled_from([b"\xff" * 1000, b"\x7f" + b"\xff" * 700, b"\1" + bytes(1000)]),
)


@given(chunk_data, chunk_limits)
@unhurried
def test_marks_are_those_of_the_byte_by_byte_rule(data, limits):
    assert cut_marks(data, limits) == slow_marks(data, limits)


@given(chunk_data, chunk_limits, st.lists(st.integers(0, 200), min_size=1, max_size=10))
@unhurried
def test_chunks_join_to_the_file_and_do_not_depend_on_the_blocks(data, limits, sizes):
    blocks, position = [], 0
    while position < len(data) and any(sizes):
        size = sizes[len(blocks) % len(sizes)]
        blocks.append(data[position : position + size])
        position += size
    blocks.append(data[position:])
    pieces = list(split(blocks, limits))
    assert b"".join(pieces) == data
    assert all(limits.minimum <= len(piece) <= limits.maximum for piece in pieces[:-1])
    assert len(pieces[-1]) > 0 or len(pieces) == 1
    assert [sum(map(len, pieces[: n + 1])) for n in range(len(pieces) - 1)] == cut_marks(data, limits)


def changed(data: st.DataObject, blob: bytes) -> bytes:
    """The same bytes with one of them replaced, removed, or one inserted."""
    position = data.draw(st.integers(0, len(blob) - 1), label="position")
    match data.draw(st.sampled_from(["replace", "remove", "insert"]), label="change"):
        case "replace":
            byte = blob[position] ^ data.draw(st.integers(1, 255), label="bits")
            return blob[:position] + bytes([byte]) + blob[position + 1 :]
        case "remove":
            return blob[:position] + blob[position + 1 :]
        case _:
            inserted = data.draw(st.binary(min_size=1, max_size=1), label="byte")
            return blob[:position] + inserted + blob[position:]
