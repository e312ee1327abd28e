from __future__ import annotations

import pytest

from events import (
    EventError,
    LegacyRequest,
    RepositoryCreated,
    RepositoryRefused,
    RepositoryRequested,
    reply_to_created,
    reply_to_refused,
)

PEM = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"


def test_a_request_for_ones_own_repository_becomes_a_personal_one():
    body = b"alice,8f3c-2c1e,alice.infn.it,https://iam.cloud.infn.it/,N"
    assert LegacyRequest.parse(body).to_requested("infn.it") == RepositoryRequested(
        repository="alice.infn.it",
        username="alice",
        subject="8f3c-2c1e",
        group=None,
        issuer="https://iam.cloud.infn.it/",
        reply_queue="cvmfs_reply",
    )


@pytest.mark.parametrize(
    ("username", "repository", "group"),
    [
        pytest.param("alice", "physics.infn.it", "physics", id="group"),
        pytest.param("alice", "alice.cern.ch", "alice", id="own name in another domain is a group's name"),
        pytest.param("mario.rossi", "mario.rossi.infn.it", None, id="user name with a dot"),
        pytest.param("mario", "mario.rossi.infn.it", "mario", id="a longer name is not the user's"),
    ],
)
def test_every_other_repository_belongs_to_the_group_its_first_label_names(username, repository, group):
    body = f"{username},8f3c,{repository},https://iam.cloud.infn.it/,N".encode()
    assert LegacyRequest.parse(body).to_requested("infn.it").group == group


def test_blanks_and_a_line_break_around_the_fields_do_no_harm():
    request = LegacyRequest.parse(b" alice, 8f3c ,alice.infn.it,https://iam/,Y\r\n")
    assert request == LegacyRequest(
        username="alice", subject="8f3c", repository="alice.infn.it", issuer="https://iam/", common_key=True
    )


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        pytest.param(b"", "1 comma-separated fields", id="empty"),
        pytest.param(b"alice,1,alice.infn.it,https://iam", "4 comma-separated fields", id="too few fields"),
        pytest.param(b"alice,1,alice.infn.it,https://iam,N,", "6 comma-separated fields", id="too many fields"),
        pytest.param(b"alice,1,alice.infn.it,https://iam,yes", "commonKey", id="neither Y nor N"),
        pytest.param(b"\xff,1,alice.infn.it,https://iam,N", "not UTF-8", id="not UTF-8"),
        pytest.param(b"alice,1,alice,https://iam,N", r"data\.repository", id="no repository name"),
        pytest.param(b"alice,../x,alice.infn.it,https://iam,N", r"data\.subject", id="subject climbs in the vault"),
        pytest.param(b",,,,N", r"data\.username.*data\.subject", id="every empty field is named"),
    ],
)
def test_a_malformed_request_is_refused_with_the_reason(body, fault):
    with pytest.raises(EventError, match=fault):
        LegacyRequest.parse(body).to_requested("infn.it")


def test_the_reply_to_a_created_repository():
    event = RepositoryCreated(
        repository="alice.infn.it",
        username="alice",
        subject="8f3c",
        bucket="alice",
        url="https://rgw/cvmfs/alice.infn.it",
        revision=1,
        root_hash="0" * 40,
        public_key=PEM,
    )
    assert reply_to_created(event) == b"alice,8f3c,alice.infn.it,Y,-"


@pytest.mark.parametrize(
    ("reason", "hint", "error"),
    [
        pytest.param("The name is taken.", "", "The name is taken.", id="reason alone"),
        pytest.param("Taken.", "Choose another.", "Taken. Choose another.", id="reason and next step"),
        pytest.param("Taken, sorry.", "", "Taken; sorry.", id="commas would make fields"),
        pytest.param("Taken:\n  by bob\r\n", "", "Taken: by bob", id="line breaks would make messages"),
        pytest.param(" \n", "", "-", id="nothing to say"),
    ],
)
def test_the_reply_to_a_refused_request(reason, hint, error):
    event = RepositoryRefused(
        repository="bob.infn.it", username="alice", subject="8f3c", code="refused", reason=reason, hint=hint
    )
    assert reply_to_refused(event).decode() == f"alice,8f3c,bob.infn.it,N,{error}"
