"""Whatever two publishers do to a tree, the merge comes to what a plain dictionary says, and is a sound repository."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.cvmfs.difference import CatalogDifference, TreeComparison
from functions.cvmfs.entry import encode_text
from tests.forest import Forest, Shown, Wood, expected_merge, is_below, is_incidental, plain
from tests.wood_strategies import edits_of, woods

USUAL = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def differences(forest, old, new):
    found = TreeComparison(forest.view(old), forest.view(new))
    return [difference for difference in found if not isinstance(difference, CatalogDifference)]


def in_order(paths):
    return sorted(paths, key=lambda path: [encode_text(name) for name in path.split("/")])


@USUAL
@given(st.data(), woods())
def test_a_difference_applied_to_the_old_tree_gives_the_new_one(data: st.DataObject, first: Wood) -> None:
    second = data.draw(st.one_of(edits_of(first), woods()))
    forest = Forest()
    old = forest.grown(forest.empty, first)
    new = forest.grown(data.draw(st.sampled_from([old, forest.empty])), second)
    before, after = first.shown(), second.shown()
    assert forest.shown(new) == after
    result: dict[str, Shown] = dict(before)
    found = differences(forest, old, new)
    for difference in found:
        assert (difference.old and (plain(difference.old), difference.old_links)) == before.get(difference.path)
        if difference.new is None:
            del result[difference.path]
        else:
            result[difference.path] = (plain(difference.new), difference.new_links)
    assert result == after
    paths = [difference.path for difference in found]
    assert paths == in_order(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    assert list(TreeComparison(forest.view(new), forest.view(new))) == []


@USUAL
@given(st.data(), woods())
def test_a_merge_comes_to_what_the_rule_says_and_is_sound(data: st.DataObject, base: Wood) -> None:
    ours, theirs = data.draw(edits_of(base)), data.draw(edits_of(base))
    lease = data.draw(st.sampled_from(sorted({"", *base.entries, *ours.entries})))
    forest = Forest()
    o = forest.grown(forest.empty, base)
    n, g = forest.grown(o, ours), forest.grown(o, theirs)
    merged, report = forest.merged(g, o, n, lease)
    shown = forest.shown(merged)
    assert shown == expected_merge(base, ours, theirs, lease)
    assert forest.findings(merged) == []
    assert forest.merged(g, o, n, lease) == (merged, report)
    tell_of_what_is_lost(base.shown(), theirs.shown(), shown, report)
    both = touched_by_both(base, ours, theirs)
    assert all(any(path == top or is_below(path, top) for top in both) for path in paths_of(report))


def tell_of_what_is_lost(old, theirs, merged, report):
    """Whatever theirs had changed and the merge does not show is among the conflicts, itself or a directory above.

    Two things are no loss: directories whose attributes came together, and hard links that the loss of others ended.
    """
    for path, entry in theirs.items():
        if old.get(path) == entry or is_incidental(old.get(path), entry):
            continue
        kept = merged[path][0] if path in merged else None
        if kept != entry[0] and not (kept is not None and kept.is_directory and entry[0].is_directory):
            assert any(path == top or is_below(path, top) for top in paths_of(report)), path


def paths_of(report):
    return [conflict.path for conflict in report.conflicts]


def touched_by_both(base, ours, theirs):
    sides = []
    for side in (ours.shown(), theirs.shown()):
        old = base.shown()
        changed = {path for path in old.keys() | side.keys() if old.get(path) != side.get(path)}
        sides.append(changed | {top for path in changed for top in (path[:at] for at in range(len(path)))})
    return sides[0] & sides[1]


@USUAL
@given(st.data(), woods())
def test_edits_that_do_not_meet_can_be_merged_either_way_round(data: st.DataObject, base: Wood) -> None:
    one, other = data.draw(edits_of(base, most=3)), data.draw(edits_of(base, most=3))
    forest = Forest()
    o = forest.grown(forest.empty, base)
    a, b = forest.grown(o, one), forest.grown(o, other)
    merged, report = forest.merged(b, o, a)
    if not report.conflicts:
        swapped, again = forest.merged(a, o, b)
        assert again.conflicts == []
        assert forest.shown(swapped) == forest.shown(merged)


@USUAL
@given(st.data(), woods())
def test_merging_with_nobody_else_or_with_oneself_changes_nothing(data: st.DataObject, base: Wood) -> None:
    ours = data.draw(edits_of(base))
    forest = Forest()
    o = forest.grown(forest.empty, base)
    n = forest.grown(o, ours)
    alone, report = forest.merged(o, o, n)
    assert forest.shown(alone) == ours.shown()
    assert forest.marked(alone) >= ours.marked
    assert report.conflicts == report.ignored == []
    same, report = forest.merged(n, o, n)
    assert forest.shown(same) == ours.shown()
    assert forest.mounts(same) == forest.mounts(n)
    assert report.conflicts == []
