"""`repo tag`, `rollback`, `resign`, `import` and `update-info`, from the command line to the verifying reader."""

from __future__ import annotations

import json
import shutil
import stat

import pytest

from functions.adapters.key_files import KeyFiles
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.reader import WHITELIST_PATH, read_certificate
from functions.cvmfs.whitelist import SignedWhitelist
from functions.errors import StoreUnavailable
from functions.publishing import resigning
from functions.wiring import S3NotSet, s3_from_environment
from gateway.cli import opened
from tests.cli_repository import FQRN, CliRepository, run
from tests.golden import golden


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Revisions 2 and 3, with one file more each; revision 2 is v2. Copied for every test."""
    repository = CliRepository.copy(tmp_path_factory.mktemp("made"))
    for number in "23":
        (repository.tree / number).write_bytes(number.encode())
        repository.published(*(("--tag", "v2") if number == "2" else ()))
    return repository


@pytest.fixture
def repository(made, tmp_path):
    shutil.copytree(made.home, tmp_path, dirs_exist_ok=True)
    return CliRepository(tmp_path)


def edit(repository, *arguments):
    return run("repo", "tag", repository.folder, "--keys", repository.keys, *arguments)


def signed(repository, command, *arguments):
    return run("repo", command, "--storage", repository.storage, "--keys", repository.keys, *arguments)


def checked(repository):
    result = run("repo", "check", repository.folder, "--key", repository.public_key, "--data", "--all-tags")
    assert result.exit_code == 0, result.stdout


def names(repository):
    return {tag.name: tag.revision for tag in repository.reader().tags()}


def test_tags_are_added_moved_and_removed_without_a_new_revision(repository):
    added = edit(repository, "-a", "v3", "-m", "the third")
    assert (added.exit_code, added.stdout) == (0, "Tagged revision 3 as v3.\n")
    assert edit(repository, "-a", "first", "-h", "1").stdout == "Tagged revision 1 as first.\n"
    root = next(tag.root for tag in repository.reader().tags() if tag.name == "v2")
    assert edit(repository, "-a", "v3", "-h", f"{root}C").stdout == "Moved v3 from revision 3 to 2.\n"
    assert names(repository) == {"trunk": 3, "trunk-previous": 2, "v2": 2, "v3": 2, "first": 1}
    removed = edit(repository, "-r", "v2", "-r", "first")
    assert removed.stdout.splitlines()[0] == f"Removed v2, which was on revision 2 ({root})."
    assert names(repository) == {"trunk": 3, "trunk-previous": 2, "v3": 2}
    assert repository.reader().manifest.revision == 3
    checked(repository)


def test_a_tag_is_shown_by_itself(repository):
    shown = run("repo", "tag", repository.folder, "-i", "v2", "--key", repository.public_key)
    fields = dict(line.split(":", 1) for line in shown.stdout.splitlines())
    assert (fields["Name"].strip(), fields["Revision"].strip(), fields["Branch"].strip()) == ("v2", "2", "(default)")
    assert shown.stderr == ""
    members = json.loads(run("repo", "tag", repository.folder, "-i", "v2", "--json").stdout)
    assert (members["revision"], members["root_hash"]) == (2, fields["Root Hash"].strip())
    unknown = run("repo", "tag", repository.folder, "-i", "v9")
    assert (unknown.exit_code, "has no tag 'v9'" in unknown.stderr) == (1, True)


def test_edits_tell_programs_what_they_did(repository):
    added = json.loads(edit(repository, "-a", "v3", "--json").stdout)
    assert (added["tag"]["name"], added["tag"]["revision"], added["moved_from"]) == ("v3", 3, None)
    removed = json.loads(edit(repository, "-r", "v3", "--json").stdout)["removed"]
    assert [tag["name"] for tag in removed] == ["v3"]


REFUSED = [
    pytest.param(("-a", "v2"), 1, "There is a tag 'v2' already, on revision 2.", id="a name that is taken"),
    pytest.param(("-r", "v9"), 1, "There is no tag 'v9'.", id="a tag that is not there"),
    pytest.param(("-r", "trunk"), 1, "kept by the publisher", id="the publisher's own"),
    pytest.param(("-a", "v9", "-h", "77"), 1, "There is no revision 77.", id="a revision that is not there"),
    pytest.param(("-a", "trunk"), 2, "is reserved", id="a name that is reserved"),
    pytest.param(("-a", "v9", "-h", "zz"), 2, "neither a root hash nor a revision", id="no place"),
    pytest.param(("-a", "v9", "-h", "0" * 40 + "H"), 2, "not the hash of a catalog", id="another object"),
    pytest.param(("-a", "v9", "-l"), 2, "one of them at a time", id="two things at once"),
    pytest.param(("-m", "text"), 2, "they go with --add", id="a message for nothing"),
]


@pytest.mark.parametrize(("arguments", "code", "reason"), REFUSED)
def test_what_cannot_be_tagged_is_refused_with_a_next_step(repository, arguments, code, reason):
    before = repository.folder.joinpath(".cvmfspublished").read_bytes()
    result = edit(repository, *arguments)
    assert result.exit_code == code
    assert reason in " ".join(result.stderr.split())
    assert repository.folder.joinpath(".cvmfspublished").read_bytes() == before


def test_tags_can_be_edited_in_a_storage_only_and_with_keys_only(repository):
    assert "name the folder of the key files" in run("repo", "tag", repository.folder, "-a", "x").stderr
    with repository.served() as base:
        url = f"{base}/{FQRN}"
        assert "v2" in run("repo", "tag", url, "--key", repository.public_key).stdout
        refused = run("repo", "tag", url, "-a", "x", "--keys", repository.keys)
    assert (refused.exit_code, "is no storage" in refused.stderr) == (2, True)


def test_keys_of_another_repository_cannot_edit_tags(repository, tmp_path):
    other = tmp_path / "other"
    run("repo", "mkfs", FQRN, "--storage", f"dir:{other / 'repository'}", "--keys", other)
    result = run("repo", "tag", repository.folder, "--keys", other, "-a", "x")
    assert result.exit_code == 1
    assert f"is not the key that {FQRN} is signed with" in result.stderr


class Terminal:
    """A standard input with a person at it, who gives one answer."""

    def __init__(self, monkeypatch, answer):
        monkeypatch.setattr(opened, "_is_asked", lambda: True)
        self.asked = []
        monkeypatch.setattr(opened.typer, "confirm", lambda question, **_: self.asked.append(question) or answer)


def test_a_person_is_asked_before_tags_go_and_before_a_rollback(repository, monkeypatch):
    terminal = Terminal(monkeypatch, answer=False)
    assert edit(repository, "-r", "v2").exit_code == 1
    assert signed(repository, "rollback", "-t", "v2").exit_code == 1
    assert signed(repository, "rollback").exit_code == 1
    assert [question.split()[0] for question in terminal.asked] == ["Remove", "ROLL", "UNDO"]
    assert names(repository) == {"trunk": 3, "trunk-previous": 2, "v2": 2}
    assert signed(repository, "rollback", "--force").exit_code == 0
    assert len(terminal.asked) == 3


def test_a_rollback_publishes_the_older_tree_as_a_new_revision(repository):
    result = signed(repository, "rollback", "-t", "v2")
    assert result.stdout == f"Rolled back {FQRN} to revision 2 (v2), which is now revision 4.\n"
    assert repository.paths() == ["/2"]
    again = signed(repository, "rollback")
    assert (again.exit_code, "There is nothing to undo." in again.stderr) == (1, True)
    assert repository.published()["revision"] == 5
    outcome = json.loads(signed(repository, "rollback", "--json").stdout)
    assert (outcome["revision"], outcome["target"]["revision"], outcome["removed_tags"]) == (6, 4, [])
    assert repository.paths() == ["/2"]
    checked(repository)


# Automatic tags


def test_mkfs_makes_repositories_that_tag_every_revision_unless_told_otherwise(tmp_path):
    options = ("--storage", f"dir:{tmp_path / 'repository'}", "--keys", tmp_path / "keys")
    assert run("repo", "mkfs", FQRN, *options, "-G", "30").exit_code == 0
    repository = CliRepository(tmp_path)
    repository.tree.mkdir()
    for number, more in (("2", ()), ("3", ("--no-autotag",)), ("4", ("--tag", "v4"))):
        (repository.tree / number).touch()
        repository.published(*more)
    generic = [tag.revision for tag in repository.reader().tags() if tag.name.startswith("generic")]
    assert generic == [2, 1]
    checked(repository)


def test_a_repository_without_automatic_tags_can_be_given_one(repository):
    (repository.tree / "4").touch()
    repository.published("--autotag")
    assert [revision for name, revision in names(repository).items() if name.startswith("generic-")] == [4]


# Signing again


def whitelist(repository):
    return SignedWhitelist.from_bytes((repository.folder / WHITELIST_PATH).read_bytes()).unverified


def test_the_whitelist_is_signed_again(repository):
    result = signed(repository, "resign", "-d", "7")
    listed = whitelist(repository)
    assert (listed.expires - listed.issued).days == 7
    assert f"valid until {listed.valid_until:%Y-%m-%d %H:%M} UTC" in result.stdout
    members = json.loads(signed(repository, "resign", "--json").stdout)
    assert (members["repository"], len(members["fingerprints"])) == (FQRN, 1)
    assert "lets a stolen signing key be used for longer" in signed(repository, "resign", "-d", "31").stderr
    checked(repository)


def test_the_manifest_is_signed_again(repository):
    before = repository.reader().manifest
    assert "Signed the manifest" in signed(repository, "resign", "--manifest").stdout
    assert repository.reader().manifest.root == before.root
    assert signed(repository, "resign", "--manifest", "-d", "7").exit_code == 2
    assert signed(repository, "resign", "--manifest", "--new-key").exit_code == 2
    checked(repository)


@pytest.mark.parametrize("option", ["--new-key", "--new-certificate"])
def test_the_signing_key_is_replaced_and_the_old_certificate_dropped_later(repository, option):
    old = Certificate.from_pem((repository.keys / f"{FQRN}.crt").read_bytes())
    replaced = signed(repository, "resign", option)
    assert replaced.exit_code == 0, replaced.stderr
    new = Certificate.from_pem((repository.keys / f"{FQRN}.crt").read_bytes())
    assert (new.public_key == old.public_key) is (option == "--new-certificate")
    assert new.der != old.der
    reader = repository.reader()
    assert read_certificate(reader.fetch, reader.manifest).der == new.der
    assert whitelist(repository).admits(old)
    assert not list(repository.keys.glob("*.next"))
    assert stat.S_IMODE((repository.keys / f"{FQRN}.key").stat().st_mode) == 0o400
    (repository.tree / "more").touch()
    assert repository.published()["revision"] == 4
    assert signed(repository, "resign", "--only-current").exit_code == 0
    assert not whitelist(repository).admits(old)
    checked(repository)


def half_adopted(files, fqrn):
    """The first of the two files is in its place when the process dies."""
    (files._folder / f"{fqrn}.key").rename(files._folder / f"{fqrn}.key.old")
    (files._folder / f"{fqrn}.key.next").rename(files._folder / f"{fqrn}.key")
    raise StoreUnavailable("broken off")


def broken_off(*_arguments):
    raise StoreUnavailable("broken off")


@pytest.mark.parametrize(
    ("step", "instead"),
    [
        pytest.param((resigning, "renew_whitelist"), broken_off, id="before the whitelist"),
        pytest.param((resigning, "resign_manifest"), broken_off, id="before the manifest"),
        pytest.param((KeyFiles, "adopt_replacement"), broken_off, id="before the key files"),
        pytest.param((KeyFiles, "adopt_replacement"), half_adopted, id="between the key files"),
    ],
)
def test_a_replacement_that_broke_off_is_finished_when_it_is_repeated(repository, monkeypatch, step, instead):
    old = Certificate.from_pem((repository.keys / f"{FQRN}.crt").read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(*step, instead if isinstance(step[0], type) else lambda *_, **__: broken_off())
        assert signed(repository, "resign", "--new-key").exit_code == 3
    drafted = (repository.keys / f"{FQRN}.crt.next").read_bytes()
    assert repository.reader().snapshot().read("/2") == b"2"
    result = signed(repository, "resign", "--new-key")
    assert result.exit_code == 0, result.stderr
    assert (repository.keys / f"{FQRN}.crt").read_bytes() == drafted, "the certificate that was drafted first"
    assert not list(repository.keys.glob("*.next"))
    assert whitelist(repository).admits(old)
    assert len(whitelist(repository).fingerprints) == 2
    (repository.tree / "more").touch()
    assert repository.published()["revision"] == 4
    checked(repository)


def test_an_old_key_cannot_publish_after_the_replacement(repository, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(repository.keys, old)
    assert signed(repository, "resign", "--new-key").exit_code == 0
    (repository.tree / "late").touch()
    result = run("repo", "publish", "--from", repository.tree, "--storage", repository.storage, "--keys", old)
    assert result.exit_code == 1
    assert f"is not the key that {FQRN} is signed with" in result.stderr


# Repositories of the official tools


def test_a_repository_of_the_official_tools_is_imported_tagged_and_published_to(tmp_path):
    official = golden("shake128")
    folder, keys = tmp_path / official.fqrn, official.folder.parent / "keys"
    shutil.copytree(official.folder, folder)
    (folder / ".cvmfsreflog").unlink()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"ours")
    options = ("--storage", f"dir:{folder}", "--keys", keys)
    imported = run("repo", "import", official.fqrn, *options, "--recreate-whitelist", "--json")
    assert imported.exit_code == 0, imported.stderr
    outcome = json.loads(imported.stdout)
    assert (outcome["hash"], outcome["revision"], len(outcome["repairs"])) == ("shake128", 4, 2)
    assert run("repo", "tag", folder, "--keys", keys, "-a", "taken").exit_code == 0
    published = run("repo", "publish", "--from", tmp_path / "tree", "--path", "/ours", *options)
    assert published.exit_code == 0, published.stderr
    check = run("repo", "check", folder, "--key", keys / f"{official.fqrn}.pub", "--data", "--all-tags")
    assert check.exit_code == 0, check.stdout
    again = run("repo", "import", official.fqrn, *options)
    assert again.stdout.startswith(f"{official.fqrn} can be published to: revision 5, ")
    assert "Repaired" not in again.stdout


def test_a_repository_is_copied_from_where_it_is_served_and_goes_on_here(repository, tmp_path):
    here = tmp_path / "here"
    options = ("--storage", f"dir:{here}", "--keys", repository.keys)
    with repository.served() as base:
        imported = run("repo", "import", FQRN, *options, "--from", f"{base}/{FQRN}")
    assert imported.exit_code == 0, imported.stderr
    assert "Copied" in imported.stderr
    assert "the reflog was made anew" in imported.stdout
    (repository.tree / "4").touch()
    assert run("repo", "publish", "--from", repository.tree, *options).stdout.startswith(
        f"Published {FQRN}, revision 4"
    )
    check = run("repo", "check", here, "--key", repository.public_key, "--data", "--all-tags")
    assert check.exit_code == 0, check.stdout
    refused = run("repo", "import", FQRN, *options, "--from", repository.folder)
    assert (refused.exit_code, "The storage holds revision 4" in refused.stderr) == (1, True)


def test_an_import_needs_the_keys(repository, tmp_path):
    result = run("repo", "import", FQRN, "--storage", repository.storage, "--keys", tmp_path / "none")
    assert (result.exit_code, "There is no key file" in result.stderr) == (1, True)
    assert not (tmp_path / "none").exists()


# The server


def test_repositories_are_entered_into_the_list_above_them_when_asked(tmp_path):
    site = tmp_path / "cvmfs"
    for name in ("a.example.org", "b.example.org"):
        options = ("--storage", f"dir:{site / name}", "--keys", tmp_path / "keys")
        assert run("repo", "mkfs", name, *options, "--server-info").exit_code == 0
    listed = json.loads((site / "info" / "v1" / "repositories.json").read_text())
    assert [entry["name"] for entry in listed["repositories"]] == ["a.example.org", "b.example.org"]
    shutil.rmtree(site / "a.example.org")
    gone = run(
        "repo", "update-info", "--storage", f"dir:{site / 'a.example.org'}", "--remove", "--fqrn", "a.example.org"
    )
    assert gone.stdout == "info/v1/repositories.json lists 1 repository.\n"
    back = run("repo", "update-info", "--storage", f"dir:{site / 'b.example.org'}", "--json")
    assert [entry["name"] for entry in json.loads(back.stdout)["repositories"]] == ["b.example.org"]


def test_a_storage_of_another_name_has_no_place_in_the_list(repository):
    result = run("repo", "update-info", "--storage", repository.storage)
    assert result.exit_code == 1
    assert f"is not named {FQRN}" in result.stderr
    assert not (repository.home / "info").exists()


# S3


AWS = {"AWS_ENDPOINT_URL": "http://s3.example.org", "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "hush"}


def test_the_environment_says_how_to_reach_s3():
    connection = s3_from_environment(AWS | {"AWS_REGION": "eu", "S3_QUOTED_IF_MATCH": "true"})
    assert (connection.endpoint, connection.region, connection.quoted_if_match) == (AWS["AWS_ENDPOINT_URL"], "eu", True)
    assert s3_from_environment(AWS | {"AWS_ENDPOINT_URL_S3": "http://other"}).endpoint == "http://other"
    assert "hush" not in repr(connection)


def test_what_the_environment_does_not_say_is_named_all_at_once():
    with pytest.raises(S3NotSet, match="AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY are not set"):
        s3_from_environment({"AWS_ACCESS_KEY_ID": ""})
    unset: dict[str, str | None] = dict.fromkeys([*AWS, "AWS_ENDPOINT_URL_S3"])
    for command in (("repo", "ls", "s3://bucket/x"), ("repo", "tag", "s3://bucket/x")):
        result = run(*command, environment=unset)
        assert (result.exit_code, "are not set" in result.stderr) == (1, True)
