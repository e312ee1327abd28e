"""Keys of objects and the repository paths they stand for."""

import pytest

from functions.errors import UploadRefused
from functions.publishing.keys import ArchivePlace, Target, TargetKind, archive_stem, key_to_target


@pytest.mark.parametrize(
    ("key", "path", "kind"),
    [
        pytest.param("cvmfs/a", "/a", TargetKind.FILE, id="a file at the top"),
        pytest.param("cvmfs/a/b/c.txt", "/a/b/c.txt", TargetKind.FILE, id="a file in folders"),
        pytest.param("cvmfs/a/", "/a", TargetKind.DIRECTORY, id="a directory marker"),
        pytest.param("cvmfs/", "", TargetKind.ROOT, id="the marker of the area itself"),
        pytest.param("cvmfs/l.rclonelink", "/l", TargetKind.LINK, id="an rclone link"),
        pytest.param("cvmfs/a/.rclonelink", "/a/.rclonelink", TargetKind.FILE, id="only the suffix is a plain name"),
        pytest.param("cvmfs/.rclonelink", "/.rclonelink", TargetKind.FILE, id="also at the top"),
        pytest.param("cvmfs/sw/root-6.30.tar.gz", "/sw/root-6.30", TargetKind.ARCHIVE, id="an archive"),
        pytest.param("cvmfs/X.TGZ", "/X", TargetKind.ARCHIVE, id="an archive in capitals"),
        pytest.param("cvmfs/.tar", "/.tar", TargetKind.FILE, id="a name that is only a suffix"),
        pytest.param(
            "cvmfs/sp ace+plus%25/ü€\"q'&<>\\x.txt",
            "/sp ace+plus%25/ü€\"q'&<>\\x.txt",
            TargetKind.FILE,
            id="odd names stay as they are",
        ),
        pytest.param("cvmfs/.cvmfsdirtab", "/.cvmfsdirtab", TargetKind.FILE, id="the dirtab"),
        pytest.param("cvmfs/a/.cvmfscatalog", "/a/.cvmfscatalog", TargetKind.FILE, id="a catalog marker"),
        pytest.param("cvmfs/a/.cvmfs", "/a/.cvmfs", TargetKind.FILE, id="reserved only at the top"),
        pytest.param("cvmfs/..a/b..", "/..a/b..", TargetKind.FILE, id="dots inside names"),
    ],
)
def test_a_key_stands_for_a_path(key: str, path: str, kind: TargetKind) -> None:
    assert key_to_target(key) == Target(path, kind)


@pytest.mark.parametrize(
    ("key", "code"),
    [
        pytest.param("other/a", "key-outside-area", id="outside the area"),
        pytest.param("cvmfs/../etc/passwd", "key-dot-component", id="climbing out"),
        pytest.param("cvmfs/a/./b", "key-dot-component", id="a dot"),
        pytest.param("cvmfs/a/..", "key-dot-component", id="dots at the end"),
        pytest.param("cvmfs/a/../", "key-dot-component", id="dots as a directory marker"),
        pytest.param("cvmfs/a//b", "key-empty-component", id="an empty component"),
        pytest.param("cvmfs//", "key-empty-component", id="an empty directory name"),
        pytest.param("cvmfs/a\nb", "key-bad-name", id="a line feed"),
        pytest.param("cvmfs/a\x00b", "key-bad-name", id="a NUL"),
        pytest.param("cvmfs/a\x85b", "key-bad-name", id="a C1 control character"),
        pytest.param("cvmfs/" + "ü" * 128, "key-bad-name", id="256 bytes in one name"),
        pytest.param("cvmfs/.cvmfs/x", "key-reserved", id="the virtual directory"),
        pytest.param("cvmfs/.cvmfspublished", "key-reserved", id="a manifest"),
        pytest.param("cvmfs/.cvmfscatalog", "key-reserved", id="a marker at the top"),
        pytest.param("cvmfs/a/.cvmfsautocatalog", "key-reserved", id="a balancer's marker"),
        pytest.param("cvmfs/a/.cvmfscatalog/b", "key-reserved", id="a marker as a directory"),
        pytest.param("cvmfs/a/.cvmfsgraft-x", "key-reserved", id="a graft"),
        pytest.param("cvmfs/...tar", "key-dot-component", id="an archive that would unpack upwards"),
    ],
)
def test_a_key_that_cannot_be_published_says_why(key: str, code: str) -> None:
    with pytest.raises(UploadRefused) as refusal:
        key_to_target(key)
    assert refusal.value.reason_code == code
    assert refusal.value.next_step


def test_archives_are_plain_files_where_a_repository_says_so() -> None:
    assert key_to_target("cvmfs/a.tar.gz", archives=ArchivePlace.FILE) == Target("/a.tar.gz", TargetKind.FILE)


def test_the_longest_suffix_counts() -> None:
    assert archive_stem("a.tar.gz") == "a"
    assert archive_stem("a.gz") is None
