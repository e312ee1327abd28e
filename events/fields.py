"""The kinds of field that events are made of, each with its rule."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from events import names


def _readable(value: object) -> object:
    """Replace bytes that are not UTF-8, kept as surrogates in paths, by U+FFFD: JSON text cannot carry them."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return value


Text = Annotated[str, BeforeValidator(_readable)]
"""Text for people; what is not Unicode in it is shown as U+FFFD."""

Fqrn = Annotated[str, Field(pattern=names.FQRN_PATTERN, max_length=names.FQRN_LIMIT)]
BucketName = Annotated[str, Field(pattern=names.BUCKET_PATTERN)]
GroupName = Annotated[str, Field(pattern=names.GROUP_PATTERN)]
UserName = Annotated[str, Field(pattern=names.USERNAME_PATTERN)]
Subject = Annotated[str, Field(pattern=names.SUBJECT_PATTERN)]
ReplyQueue = Annotated[str, Field(pattern=names.REPLY_QUEUE_PATTERN, max_length=255)]

Issuer = Annotated[str, Field(pattern=r"^[!-~]*$", max_length=2048)]
"""The URL of the OpenID Connect issuer, or empty."""

Url = Annotated[str, Field(pattern=r"^https?://[!-~]+$", max_length=2048)]

ObjectKey = Annotated[Text, Field(min_length=1, max_length=1024)]
"""An S3 object key, also one that is refused for its characters."""

ETag = Annotated[str, Field(pattern=r"^[!#-~]*$", max_length=255)]
"""An entity tag without quotes; empty where the object is gone."""

HashText = Annotated[str, Field(pattern=r"^[0-9a-f]{40}(-rmd160|-shake128)?$")]
"""The hash string of an object, without the letter of its kind."""

Revision = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]

Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A number that JSON can write: Python reads 1e999 as infinity, and no event source reads what it makes of that."""

UnixTime = Annotated[int, Field(ge=0)]
"""Seconds since the epoch."""

ReasonCode = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
"""A reason that programs can compare, in lower-case words joined by dashes."""

Reason = Annotated[Text, Field(min_length=1)]

RequestName = Annotated[str, Field(pattern=names.REQUEST_PATTERN)]
"""What its sender calls a wish, a UUID for instance: the same name again is the same wish."""

TagName = Annotated[str, Field(pattern=names.TAG_PATTERN, max_length=names.TAG_LIMIT)]

PublicKeyPem = Annotated[
    str,
    Field(pattern=r"^-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=\n]+\n-----END PUBLIC KEY-----\n?$", max_length=16384),
]
"""SubjectPublicKeyInfo as PEM; the pattern leaves no room for a private key."""

CertificatePem = Annotated[
    str,
    Field(pattern=r"^-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+\n-----END CERTIFICATE-----\n?$", max_length=16384),
]
"""One X.509 certificate as PEM; the pattern leaves no room for a private key."""
