"""What rclone, s3fs and bare uploads say about mode and time."""

import stat

import pytest

from functions.publishing.attributes import Attributes, directory_mode, file_mode, read_attributes


@pytest.mark.parametrize(
    ("mode", "permissions", "file_type"),
    [
        pytest.param("100755", 0o755, stat.S_IFREG, id="rclone: an executable"),
        pytest.param("0100664", 0o664, stat.S_IFREG, id="rclone: with a leading zero"),
        pytest.param("120777", 0o777, stat.S_IFLNK, id="rclone: a link"),
        pytest.param("33188", 0o644, stat.S_IFREG, id="s3fs: a file"),
        pytest.param("33261", 0o755, stat.S_IFREG, id="s3fs: an executable"),
        pytest.param("41471", 0o777, stat.S_IFLNK, id="s3fs: a link"),
        pytest.param("16877", 0o755, stat.S_IFDIR, id="s3fs: a directory"),
        pytest.param("40755", 0o755, stat.S_IFDIR, id="five octal digits that are no decimal mode"),
        pytest.param("755", 0o755, None, id="permissions alone"),
        pytest.param("0644", 0o644, None, id="permissions with a leading zero"),
        pytest.param("", None, None, id="nothing"),
        pytest.param("rwxr-xr-x", None, None, id="letters"),
        pytest.param("99999999999", None, None, id="too long"),
        pytest.param("-1", None, None, id="negative"),
        pytest.param("٣٣١٨٨", None, None, id="digits of another script"),
    ],
)
def test_a_mode_is_read_in_either_notation(mode: str, permissions: int | None, file_type: int | None) -> None:
    assert read_attributes({"mode": mode}) == Attributes(permissions, file_type)


def test_a_directory_marker_settles_the_ambiguous_mode() -> None:
    assert read_attributes({"mode": "41777"}).file_type == stat.S_IFLNK
    assert read_attributes({"mode": "41777"}, is_directory_marker=True) == Attributes(0o1777, stat.S_IFDIR)


@pytest.mark.parametrize(
    ("text", "seconds", "nanoseconds"),
    [
        pytest.param("1700000000", 1700000000, None, id="whole seconds"),
        pytest.param("1700000000.123456789", 1700000000, 123456789, id="rclone on S3"),
        pytest.param("1700000000.5", 1700000000, 500000000, id="a short fraction"),
        pytest.param("2023-11-14T22:13:20Z", 1700000000, None, id="RFC 3339"),
        pytest.param("2023-11-14T23:13:20.25+01:00", 1700000000, 250000000, id="RFC 3339 with a zone and a fraction"),
        pytest.param("2023-11-14T22:13:20", None, None, id="no zone, no moment"),
        pytest.param("1960-01-01T00:00:00Z", None, None, id="before the epoch"),
        pytest.param("yesterday", None, None, id="words"),
        pytest.param("99999999999999", None, None, id="a time no file has"),
        pytest.param("9999-12-31T23:59:59Z", None, None, id="a time no file has, as a date"),
        pytest.param("1" * 5000, None, None, id="more digits than Python reads"),
        pytest.param("", None, None, id="nothing"),
    ],
)
def test_a_time_is_read_in_either_notation(text: str, seconds: int | None, nanoseconds: int | None) -> None:
    read = read_attributes({"mtime": text})
    assert (read.mtime, read.mtime_ns) == (seconds, nanoseconds)


@pytest.mark.parametrize(
    ("attributes", "head", "mode"),
    [
        pytest.param(Attributes(), b"\x7fELF", 0o100755, id="a program"),
        pytest.param(Attributes(), b"#!/b", 0o100755, id="a script"),
        pytest.param(Attributes(), b"text", 0o100644, id="anything else"),
        pytest.param(Attributes(0o644), b"#!/b", 0o100644, id="metadata counts more than the first bytes"),
        pytest.param(Attributes(0o600), b"", 0o100644, id="always readable"),
        pytest.param(Attributes(0o700), b"", 0o100755, id="executable for its owner, executable for all"),
        pytest.param(Attributes(0o6755), b"", 0o100755, id="never setuid or setgid"),
    ],
)
def test_files_are_readable_by_everyone(attributes: Attributes, head: bytes, mode: int) -> None:
    assert file_mode(attributes, head) == mode


def test_directories_are_enterable_by_everyone() -> None:
    assert directory_mode(Attributes(0o1700)) == 0o040755
    assert directory_mode(Attributes()) == 0o040755
