"""Patterns have the meaning that git gives them, and cost little whatever they are."""

import pytest

from functions.publishing.patterns import PatternFault, Patterns


@pytest.mark.parametrize(
    ("patterns", "path", "excluded"),
    [
        (["*.tmp"], "a.tmp", True),
        (["*.tmp"], "x/y/a.tmp", True),
        (["*.tmp"], "a.tmp.keep", False),
        (["/a"], "a", True),
        (["/a"], "x/a", False),
        (["x/a"], "x/a", True),
        (["x/a"], "y/x/a", False),
        (["build/"], "build/x", True),
        (["build/"], "y/build/x", True),
        (["build/"], "build", False),
        (["build/"], "build/", True),
        (["a*b"], "a/b", False),
        (["a?c"], "abc", True),
        (["a?c"], "a/c", False),
        (["[a-c]x"], "bx", True),
        (["[!a-c]x"], "bx", False),
        (["[]x]"], "]", True),
        (["**/x"], "x", True),
        (["**/x"], "a/b/x", True),
        (["a/**/x"], "a/x", True),
        (["a/**/x"], "a/b/c/x", True),
        (["a/**"], "a/b", True),
        (["a/**"], "a/", False),
        (["*", "!*.keep"], "a.keep", False),
        (["*.tmp", "!a.tmp"], "a.tmp", False),
        (["!a.tmp", "*.tmp"], "a.tmp", True),
        (["build/", "!build/x"], "build/x", True),
        (["A"], "a", False),
        ([r"\!a"], "!a", True),
        ([r"a\*"], "a*", True),
        ([r"a\*"], "ab", False),
        (["caf\u00e9"], "cafe\u0301", False),
        ([], "a", False),
    ],
)
def test_meaning(patterns: list[str], path: str, excluded: bool) -> None:
    assert Patterns(patterns).excludes(path) is excluded


@pytest.mark.parametrize("pattern", ["", "/", "!", "a//b", "a/../b", "./a", "[a", "a\\"])
def test_what_means_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(PatternFault):
        Patterns([pattern])


def test_many_stars_cost_no_more_than_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    from functions.publishing import patterns

    compared = 0
    one = patterns._character_matches

    def counted(expected: object, character: str) -> bool:
        nonlocal compared
        compared += 1
        return one(expected, character)  # type: ignore[arg-type]

    monkeypatch.setattr(patterns, "_character_matches", counted)
    assert not Patterns(["*a" * 60 + "b"]).excludes("a" * 255)
    assert compared < 120 * 256
