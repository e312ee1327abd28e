from __future__ import annotations

import pytest

from events import EventError, bucket_of, valid_fqrn


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        pytest.param("alice.infn.it", True, id="user in a domain"),
        pytest.param("mario.rossi.infn.it", True, id="user name with a dot"),
        pytest.param("Atlas-2_a.cern.ch", True, id="every allowed character"),
        pytest.param("a.b", True, id="shortest"),
        pytest.param("a" * 56 + ".com", True, id="60 characters"),
        pytest.param("a" * 57 + ".com", False, id="61 characters"),
        pytest.param("", False, id="empty"),
        pytest.param("alice", False, id="no dot"),
        pytest.param(".infn.it", False, id="starts with a dot"),
        pytest.param("-a.infn.it", False, id="starts with a dash"),
        pytest.param("a..it", False, id="empty label"),
        pytest.param("a.infn.it.", False, id="ends with a dot"),
        pytest.param("a/b.infn.it", False, id="slash"),
        pytest.param("a b.infn.it", False, id="blank"),
        pytest.param("a.infn.it\n", False, id="line break at the end"),
        pytest.param("ä.infn.it", False, id="not ASCII"),
        pytest.param("٣.infn.it", False, id="a digit, but not ASCII"),
    ],
)
def test_what_a_repository_may_be_called(name, valid):
    assert valid_fqrn(name) is valid


@pytest.mark.parametrize(
    ("fqrn", "bucket"),
    [("alice.infn.it", "alice"), ("mario.rossi.infn.it", "mario.rossi"), ("infn.it.infn.it", "infn.it")],
)
def test_the_bucket_is_the_name_without_the_domain(fqrn, bucket):
    assert bucket_of(fqrn, "infn.it") == bucket


@pytest.mark.parametrize(
    ("fqrn", "fault"),
    [
        pytest.param("alice.cern.ch", "not in the domain", id="other domain"),
        pytest.param("alice-infn.it", "not in the domain", id="domain without its dot"),
        pytest.param("infn.it", "not in the domain", id="the domain itself"),
        pytest.param("al.infn.it", "cannot name a bucket", id="two characters are too few for a bucket"),
        pytest.param("../x.infn.it", "not a repository name", id="not a name at all"),
    ],
)
def test_a_name_that_leaves_no_bucket_is_refused_with_the_reason(fqrn, fault):
    with pytest.raises(EventError, match=fault):
        bucket_of(fqrn, "infn.it")
