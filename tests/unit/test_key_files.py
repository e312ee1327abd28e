"""Keys in a folder: made once, with the names and modes of the official tools."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from functions.adapters.key_files import KeyFiles
from functions.cvmfs.certificate import Certificate
from functions.errors import KeyFilesRefused
from tests.contracts.signer import FQRN, NOW, SignerContract


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    KeyFiles(folder).ensure_keys(FQRN, now=NOW)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy of the made keys that a test may damage."""
    for file in made.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def make(folder):
    return KeyFiles(folder).ensure_keys(FQRN, now=NOW)


def test_the_files_have_the_names_and_modes_of_the_official_tools(made):
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in made.iterdir()}
    assert modes == {
        f"{FQRN}.masterkey": 0o400,
        f"{FQRN}.pub": 0o444,
        f"{FQRN}.key": 0o400,
        f"{FQRN}.crt": 0o444,
        f"{FQRN}.gw": 0o400,
    }


def test_the_gateway_key_is_one_line_with_an_id_and_a_secret(made):
    kind, name, secret = (made / f"{FQRN}.gw").read_text().split(" ")
    assert (kind, name, secret[-1], len(secret.strip())) == ("plain_text", "keygweinstein", "\n", 64)


def test_making_keys_again_returns_the_same_ones(folder):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    public = make(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert public.public_key.encode() == before[f"{FQRN}.pub"]
    assert public.certificate.encode() == before[f"{FQRN}.crt"]


class TestFileSigner(SignerContract):
    @pytest.fixture
    def keys(self, made):
        return make(made)

    @pytest.fixture
    def signer(self, made):
        return KeyFiles(made).signer(FQRN)


def test_the_signer_knows_its_public_key(made):
    certificate = Certificate.from_pem(make(made).certificate.encode())
    assert KeyFiles(made).signer(FQRN).public_key == certificate.public_key


def test_public_files_that_are_missing_are_made_from_the_private_ones(folder):
    public = (folder / f"{FQRN}.pub").read_bytes()
    (folder / f"{FQRN}.pub").unlink()
    make(folder)
    assert (folder / f"{FQRN}.pub").read_bytes() == public


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        pytest.param(
            "masterkey", r"\.pub is there, but einstein.infn.it.masterkey is not", id="master key kept elsewhere"
        ),
        pytest.param("key", r"\.crt is there, but einstein.infn.it.key is not", id="signing key kept elsewhere"),
    ],
)
def test_a_private_key_is_never_replaced_by_one_that_does_not_belong(folder, missing, reason):
    (folder / f"{FQRN}.{missing}").unlink()
    with pytest.raises(KeyFilesRefused, match=reason):
        make(folder)
    assert not (folder / f"{FQRN}.{missing}").exists()


def test_several_makers_at_once_end_with_one_set_of_keys(tmp_path):
    with ThreadPoolExecutor(3) as threads:
        made = list(threads.map(lambda _: make(tmp_path), range(3)))
    assert made[0] == made[1] == made[2]
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".crt", ".gw", ".key", ".masterkey", ".pub"]


def test_publishing_needs_no_master_key(folder):
    (folder / f"{FQRN}.masterkey").unlink()
    signer = KeyFiles(folder).signer(FQRN)
    assert signer.sign_manifest(b"0" * 40)
    with pytest.raises(KeyFilesRefused, match=r"There is no key file .*masterkey"):
        signer.sign_whitelist(b"0" * 40)


def test_a_damaged_key_is_refused_without_showing_it(folder):
    (folder / f"{FQRN}.key").write_bytes(b"-----BEGIN PRIVATE KEY-----\nsecret\n")
    with pytest.raises(KeyFilesRefused) as refusal:
        KeyFiles(folder).signer(FQRN).sign_manifest(b"0" * 40)
    assert "einstein.infn.it.key" in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_a_signer_shows_where_its_files_are_and_no_secret(folder):
    signer = KeyFiles(folder).signer(FQRN)
    signer.sign_manifest(b"0" * 40)
    assert repr(signer) == f"FileSigner({str(folder)!r}, 'einstein.infn.it')"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(KeyFilesRefused, match="Not a directory"):
        make(tmp_path / "file" / "keys")


# Another signing key


def replacement(folder, **changes):
    return KeyFiles(folder).draft_replacement(FQRN, **({"same_key": False, "now": NOW} | changes))


def test_a_drafted_key_changes_nothing_until_it_is_adopted(folder):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    drafted = replacement(folder)
    assert before.items() <= {file.name: file.read_bytes() for file in folder.iterdir()}.items()
    again = replacement(folder)
    assert again.certificate == drafted.certificate, "what was drafted is gone on with"
    assert again.signer.signing_public_key == drafted.signer.signing_public_key
    KeyFiles(folder).adopt_replacement(FQRN)
    KeyFiles(folder).adopt_replacement(FQRN)
    after = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert after[f"{FQRN}.crt"] == drafted.certificate.pem
    assert KeyFiles(folder).signer(FQRN).public_key == drafted.certificate.public_key
    assert {name: after[f"{name}.old"] for name in (f"{FQRN}.key", f"{FQRN}.crt")} == {
        name: before[name] for name in (f"{FQRN}.key", f"{FQRN}.crt")
    }
    assert set(after) == set(before) | {f"{FQRN}.key.old", f"{FQRN}.crt.old"}
    assert stat.S_IMODE((folder / f"{FQRN}.key").stat().st_mode) == 0o400


def test_an_adoption_that_broke_off_between_two_files_goes_on(folder):
    drafted = replacement(folder)
    (folder / f"{FQRN}.key").unlink()
    (folder / f"{FQRN}.key.next").rename(folder / f"{FQRN}.key")
    assert replacement(folder).certificate == drafted.certificate
    KeyFiles(folder).adopt_replacement(FQRN)
    assert (folder / f"{FQRN}.crt").read_bytes() == drafted.certificate.pem


def test_a_drafted_certificate_of_another_key_is_refused(folder):
    (folder / f"{FQRN}.crt.next").write_bytes((folder / f"{FQRN}.crt").read_bytes())
    (folder / f"{FQRN}.key.next").write_bytes((folder / f"{FQRN}.masterkey").read_bytes())
    with pytest.raises(KeyFilesRefused, match="not the certificate of the signing key"):
        replacement(folder)


def test_public_keys_are_read_and_never_made(folder):
    assert KeyFiles(folder).public_keys(FQRN) == make(folder)
    (folder / f"{FQRN}.crt").unlink()
    with pytest.raises(KeyFilesRefused, match=r"There is no key file .*\.crt"):
        KeyFiles(folder).public_keys(FQRN)
    assert not (folder / f"{FQRN}.crt").exists()
