"""The metainfo: the members of the official template."""

from __future__ import annotations

import json

import pytest

from functions.cvmfs.address import Address, Kind
from functions.cvmfs.errors import FormatError
from functions.cvmfs.manifest import SignedManifest
from functions.cvmfs.metainfo import METAINFO_LIMIT, make_metainfo
from functions.cvmfs.objects import unpack
from tests.golden import golden


def test_the_members_are_those_of_the_official_template():
    repository = golden("sha1")
    address = Address(SignedManifest.from_bytes(repository.read(".cvmfspublished")).unverified.metainfo, Kind.METAINFO)
    official = json.loads(unpack(address, repository.read(address.path)))
    ours = json.loads(make_metainfo())
    assert list(ours) == list(official)
    assert {key: type(value) for key, value in ours.items()} == {key: type(value) for key, value in official.items()}


def test_what_is_said_is_found_again_in_plain_ascii():
    content = make_metainfo(
        administrator="Zoë \udcff",
        email="zoe@example.org",
        organisation='"Quoted"',
        description="two\nlines",
        url="https://example.org",
        stratum0="http://s0.example.org/cvmfs/a.b",
        stratum1s=["http://s1.example.org", "http://s2.example.org"],
        custom={"deep": {"number": 1}},
    )
    assert content.isascii()
    assert json.loads(content) == {
        "administrator": "Zoë \udcff",
        "email": "zoe@example.org",
        "organisation": '"Quoted"',
        "description": "two\nlines",
        "url": "https://example.org",
        "recommended-stratum0": "http://s0.example.org/cvmfs/a.b",
        "recommended-stratum1s": ["http://s1.example.org", "http://s2.example.org"],
        "custom": {"deep": {"number": 1}},
    }


def test_more_than_clients_take_is_refused():
    room = METAINFO_LIMIT - len(make_metainfo())
    assert len(make_metainfo(description="x" * room)) == METAINFO_LIMIT
    with pytest.raises(FormatError, match="at most 1048576"):
        make_metainfo(description="x" * (room + 1))
