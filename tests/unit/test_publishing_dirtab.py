"""Reading ``.cvmfsdirtab`` and matching directories against it."""

from __future__ import annotations

import pytest

from functions.publishing.dirtab import DIRTAB_LIMIT, FAULTS_SHOWN, RULES_LIMIT, Dirtab

WANTED = [
    pytest.param("/sw", ["/sw"], ["/", "/s", "/sw/a", "/a/sw", "/sW"], id="a name"),
    pytest.param(
        "/sw/*", ["/sw/a", "/sw/.hidden", "/sw/ ", "/sw/*"], ["/sw", "/sw/a/b"], id="one level, dots included"
    ),
    pytest.param("/sw/*/*", ["/sw/a/b"], ["/sw/a", "/sw/a/b/c"], id="two levels"),
    pytest.param("/*", ["/a", "/.git"], ["", "/a/b"], id="everything at the top"),
    pytest.param("/v?", ["/v1", "/vé"], ["/v", "/v10", "/v/"], id="one character"),
    pytest.param("/a*c", ["/ac", "/abc", "/a\nc"], ["/a/c", "/ab"], id="inside a name"),
    pytest.param(r"/a\*c/\?/\\", [r"/a*c/?/" + "\\"], [r"/abc/?/" + "\\", r"/a*c/x/" + "\\"], id="escaped"),
    pytest.param("/[ab]x", ["/ax", "/bx"], ["/cx", "/[ab]x"], id="a set"),
    pytest.param("/[!ab]x", ["/cx"], ["/ax"], id="a set turned round"),
    pytest.param("/[x", ["/[x"], ["/x"], id="a bracket alone"),
    pytest.param("//sw///x/", ["/sw/x"], ["/sw"], id="slashes too many"),
    pytest.param(" \t/sw/x y \t\r", ["/sw/x y"], ["/sw/x"], id="blanks around, one inside"),
    pytest.param("/a.c+(d)", ["/a.c+(d)"], ["/abc+(d)", "/a.cc(d)"], id="no regular expression"),
    pytest.param("# /sw", [], ["/sw", "/# /sw"], id="comment"),
    pytest.param("/sw # no comment", ["/sw # no comment"], ["/sw"], id="comments have lines of their own"),
]


@pytest.mark.parametrize(("rule", "matching", "other"), WANTED)
def test_a_rule_wants_the_directories_it_describes(rule, matching, other):
    dirtab = Dirtab.parse(b"\n" + rule.encode() + b"\n\n")
    assert dirtab.faults == ()
    assert [path for path in (*matching, *other) if dirtab.matches(path)] == matching


UNWANTED = [
    pytest.param("/sw/.git", ["/sw/.git"], ["/sw/x.git"], id="a path"),
    pytest.param("*/.git", ["/sw/.git"], ["/sw/.gitx"], id="at any depth"),
    pytest.param("/s*t", ["/sw/.git"], ["/sw/x.gi"], id="a star crosses slashes"),
    pytest.param("/sw?.git", [], ["/sw/.git"], id="a question mark does not"),
    pytest.param("*.git", ["/sw/.git", "/sw/x.git"], ["/sw/a"], id="an ending"),
    pytest.param("sw/.git", [], ["/sw/.git"], id="without slash or star it matches no absolute path"),
    pytest.param("*/[.]git", ["/sw/[.]git"], ["/sw/.git"], id="brackets are ordinary"),
    pytest.param(r"/sw/\*", ["/sw/*"], ["/sw/a"], id="escaped"),
]


@pytest.mark.parametrize("blank", ["!", " ! "])
@pytest.mark.parametrize(("rule", "excluded", "left"), UNWANTED)
def test_a_negated_rule_takes_directories_away(rule, excluded, left, blank):
    dirtab = Dirtab.parse(f"/sw/*\n{blank}{rule}".encode())
    assert dirtab.faults == ()
    assert [path for path in (*excluded, *left) if dirtab.matches(path)] == left


FAULTY = [
    pytest.param(b"sw/*", "line 1: 'sw/*': only rules with '!' may begin without a slash", id="relative"),
    pytest.param(b"\n\n/", "line 3: '/': it names no directory below the root", id="the root"),
    pytest.param(b"! /", "line 1: '/': it names no directory below the root", id="the root, negated"),
    pytest.param(rb"/usr/\bin", "a backslash stands before something else than *, ? or \\", id="needless escape"),
    pytest.param(b"/usr\\", "a backslash stands before something else", id="an escape of nothing"),
    pytest.param(b"/usr/*\n!/usr//*", "line 2: '/usr//*' is unwanted here and wanted in line 1", id="contradiction"),
    pytest.param(b"/a\n" * (RULES_LIMIT + 1), "it has 1001 rules, at most 1000 are possible", id="too many rules"),
    pytest.param(b"#" * (DIRTAB_LIMIT + 1), "it has 1048577 bytes", id="too long"),
]


@pytest.mark.parametrize(("content", "fault"), FAULTY)
def test_a_fault_is_told_with_its_line_and_no_rule_applies(content, fault):
    dirtab = Dirtab.parse(content)
    assert len(dirtab.faults) == 1
    assert fault in dirtab.faults[0]
    assert (dirtab.wanted, dirtab.unwanted, dirtab.matches("/usr/x")) == ((), (), False)


def test_every_fault_is_told():
    assert [fault.split(":")[0] for fault in Dirtab.parse(b"a\n/ok\nb\n").faults] == ["line 1", "line 3"]


def test_what_is_told_of_a_file_that_is_no_dirtab_can_be_read():
    told = Dirtab.parse(b"a\n" * RULES_LIMIT).faults
    assert [told[0][:7], told[-1]] == ["line 1:", f"{RULES_LIMIT - FAULTS_SHOWN} more lines are wrong"]
    assert len("; ".join(Dirtab.parse(b"\xff" * DIRTAB_LIMIT).faults)) < 1000
    assert len("; ".join(Dirtab.parse(b"/" + b"a" * 5000 + b"\n!/" + b"a" * 5000).faults)) < 1000


def test_names_that_are_no_utf8_are_matched_byte_by_byte():
    dirtab = Dirtab.parse(b"/\xff*")
    assert dirtab.matches("/\udcff\udcfe")
    assert not dirtab.matches("/\udcfe")


def test_a_rule_full_of_stars_takes_no_time():
    dirtab = Dirtab.parse(b"/" + b"*a" * 100 + b"\n! " + b"*b" * 100)
    assert not dirtab.matches("/" + "a" * 99)
    assert not dirtab.excludes("/" + "b" * 90 + "/" * 4000)


def test_the_way_down_names_what_to_look_at():
    dirtab = Dirtab.parse(b"/sw/*/lib\n/data\n")
    top = dirtab.descent()
    assert top.names() == {"sw", "data"}
    assert [rule.text for rule in top.into("data").arrived()] == ["/data"]
    assert top.into("sw").names() is None
    assert top.into("sw").into("x").names() == {"lib"}
    assert dirtab.descent("/sw/x/lib").arrived() == [dirtab.wanted[0]]
    assert top.into("elsewhere").rules == ()
