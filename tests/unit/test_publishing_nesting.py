"""Which directories become nested catalogs."""

from functions.publishing.nesting import CatalogWeights, choose_splits

WEIGHTS = CatalogWeights(most=100, balanced=50, least=10)


def test_the_heaviest_directories_go_first_until_the_catalog_is_light() -> None:
    assert choose_splits({"/a": 60, "/b": 30, "/c": 15}, "", 106, WEIGHTS) == ["/a"]


def test_a_directory_that_is_too_light_stays() -> None:
    light = {f"/{number}": 9 for number in range(12)}
    assert choose_splits(light, "", 109, WEIGHTS) == []


def test_a_deep_tree_is_split_from_the_bottom() -> None:
    weights = {"/a": 119, "/a/b": 118, "/a/b/c": 60, "/a/b/d": 57}
    assert choose_splits(weights, "", 120, WEIGHTS) == ["/a/b/c", "/a/b/d"]


def test_a_catalog_below_another_is_split_below_its_own_top() -> None:
    assert choose_splits({"/p/a": 60, "/p/b": 45}, "/p", 106, WEIGHTS) == ["/p/a"]
