"""The standard library's S3 client signs as botocore does."""

from __future__ import annotations

from datetime import UTC, datetime

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.s3 import signature_headers

NOW = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(scope="module", autouse=True)
def _frozen() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda *_args, **_more: NOW.replace(tzinfo=None))
        yield


@given(
    method=st.sampled_from(["GET", "PUT", "DELETE", "POST"]),
    key=st.from_regex(r"[a-z0-9/._-]{1,30}", fullmatch=True).filter(lambda key: "//" not in key and "/." not in key),
    query=st.sampled_from(["", "uploads=", "list-type=2&prefix=a%2Fb", "partNumber=1&uploadId=x~y"]),
    body=st.binary(max_size=100),
)
def test_signatures_are_those_of_botocore(method: str, key: str, query: str, body: bytes) -> None:
    path = f"/bucket/{key.lstrip('/') or 'k'}"
    request = AWSRequest(method, f"http://s3.example.org:8080{path}{'?' if query else ''}{query}", data=body)
    botocore.auth.S3SigV4Auth(Credentials("AK", "SK"), "s3", "default").add_auth(request)
    ours = signature_headers(
        method,
        "s3.example.org:8080",
        path,
        query,
        body,
        region="default",
        access_key="AK",
        secret_key="SK",
        now=NOW.timestamp(),
    )
    signature = request.headers["Authorization"].rpartition("Signature=")[2]
    assert ours["Authorization"].rpartition("Signature=")[2] == signature
