"""Whatever the rules and the paths: they match as a plain reading of the rules says."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hypothesis import given, settings
from hypothesis import strategies as st

from functions.cvmfs.entry import encode_text
from functions.publishing.dirtab import Dirtab

CHARACTERS = st.sampled_from(["a", "b", ".", "[", "]", "!", "-", "^", "\\", "*", "?", "é", "\udcff", "\n", " x"])
NAMES = st.lists(CHARACTERS, min_size=1, max_size=3).map("".join)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: "".join(f"/{name}" for name in names))

TOKENS = st.sampled_from(["a", "b", ".", "é", "x x", "*", "?", r"\*", r"\?", r"\\", "-", "[", "]"])
PLAIN_TOKENS = TOKENS.filter(lambda token: token not in {"[", "]"})


def components(tokens: st.SearchStrategy[str]) -> st.SearchStrategy[list[list[str]]]:
    return st.lists(st.lists(tokens, min_size=1, max_size=4), min_size=1, max_size=3)


def written(parts: list[list[str]]) -> str:
    return "".join("/" + "".join(tokens) for tokens in parts)


def plainly(tokens: list[str], text: str, *, crossing: bool) -> bool:
    """Whether the tokens of a pattern match a text, tried one by one."""
    if not tokens:
        return not text
    token, rest = tokens[0], tokens[1:]
    if token == "*":
        ends = [end for end in range(len(text) + 1) if crossing or "/" not in text[:end]]
        return any(plainly(rest, text[end:], crossing=crossing) for end in ends)
    if token == "?":
        return text[:1] not in {"", "/"} and plainly(rest, text[1:], crossing=crossing)
    literal = token.removeprefix("\\")
    return text.startswith(literal) and plainly(rest, text[len(literal) :], crossing=crossing)


def flat(parts: list[list[str]]) -> list[str]:
    return [token for tokens in parts for token in ("/", *tokens)]


@given(parts=components(PLAIN_TOKENS), path=PATHS)
@settings(max_examples=150, deadline=None)
def test_a_wanted_path_matches_component_by_component(parts, path):
    assert Dirtab.parse(encode_text(written(parts))).matches(path) is plainly(flat(parts), path, crossing=False)


@given(parts=components(TOKENS), path=PATHS)
@settings(max_examples=150, deadline=None)
def test_a_negated_path_matches_as_a_whole(parts, path):
    dirtab = Dirtab.parse(encode_text("!" + written(parts)))
    assert dirtab.excludes(path) is plainly(flat(parts), path, crossing=True)


@given(
    tokens=st.lists(st.sampled_from(["a", "b", "*", "?", "[ab]", "[!a]", "[a-c]", "[", "]"]), min_size=1), name=NAMES
)
@settings(max_examples=150, deadline=None)
def test_sets_of_characters_are_those_of_the_shell(tokens, name):
    pattern = "".join(tokens)
    assert Dirtab.parse(f"/{pattern}".encode()).matches(f"/{name}") is fnmatchcase(name, pattern)


@given(rules=st.lists(components(PLAIN_TOKENS).map(written), max_size=4), path=PATHS)
@settings(max_examples=100, deadline=None)
def test_the_way_down_arrives_where_a_path_matches(rules, path):
    dirtab = Dirtab.parse(encode_text("\n".join(rules)))
    assert bool(dirtab.descent(path).arrived()) is dirtab.matches(path)


@given(content=st.binary(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_file_can_be_read(content):
    dirtab = Dirtab.parse(content)
    assert not (dirtab.faults and (dirtab.wanted or dirtab.unwanted))
    dirtab.matches("/a/b")
