import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.spec.axes import MOST, num_points, paths, points, values


def test_forms_of_an_axis() -> None:
    assert values([3, "a"]) == [3, "a"]
    assert values({"range": [4, 16, 4]}) == [4, 8, 12, 16]
    assert values({"range": [0.1, 0.3, 0.1]}) == [0.1, 0.2, 0.3]
    assert values({"logspace": [2, 32768, 15]}) == [2**power for power in range(1, 16)]
    assert values({"logspace": ["1e-3", 1e-1, 3]}) == [1e-3, 1e-2, 1e-1]


@pytest.mark.parametrize(
    "axis",
    [
        [],
        3,
        "ab",
        {"range": [1, 2]},
        {"range": [3, 1, 1]},
        {"range": [1, 3, 0]},
        {"logspace": [0, 8, 3]},
        {"list": [1]},
        None,
        {"range": [1, 1e12, 1]},
        {"logspace": [1, 10, 1e9]},
        {"range": [-1e308, 1e308, 1]},
        {"range": [1, 2, 1e-320]},
        {"range": [1, float("inf"), 1]},
        {"logspace": [1e-320, 1e308, 5]},
        {"logspace": [1e308, 1e-320, 5]},
        {"range": ["1e99999999999999999999", 2, 1]},
    ],
)
def test_what_is_no_axis_is_refused(axis: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        values(axis)


def test_product_zip_and_both() -> None:
    assert points({"a": [1, 2], "b": [3]}) == [{"a": 1, "b": 3}, {"a": 2, "b": 3}]
    assert points({"zip": {"a": [1, 2], "b": [3, 4]}}) == [{"a": 1, "b": 3}, {"a": 2, "b": 4}]
    nested = {"zip": [{"a": [1, 2], "b": [3, 4]}], "c": ["x", "y"]}
    assert len(points(nested)) == 4
    assert paths(nested) == ["a", "b", "c"]
    assert points({"zip": {"product": {"a": [1, 2], "b": [3, 4]}, "c": [5, 6, 7, 8]}})[-1] == {
        "a": 2,
        "b": 4,
        "c": 8,
    }
    with pytest.raises(ValueError, match="equally many"):
        points({"zip": {"a": [1, 2], "b": [3]}})
    assert points({}) == [{}]


@given(
    st.dictionaries(
        st.sampled_from("abcd"),
        st.lists(st.integers(), min_size=1, max_size=4, unique=True),
        max_size=4,
    )
)
def test_a_product_has_every_combination_once(axes: dict[str, list[int]]) -> None:
    found = [tuple(point.items()) for point in points(axes)]
    size = 1
    for axis in axes.values():
        size *= len(axis)
    assert len(found) == len(set(found)) == size


def test_a_product_without_end_is_refused_before_it_fills_the_memory() -> None:
    thousand = {"range": [1, 1000, 1]}
    with pytest.raises(ValueError, match="more than 100,000"):
        points({"a": thousand, "b": thousand, "c": thousand})


@pytest.mark.parametrize("entry", ["x", 5, None, [1], {}, [{}], [{"a": [1]}, "x"]])
@pytest.mark.parametrize("key", ["zip", "product"])
def test_what_is_no_group_of_axes_is_refused(key: str, entry: object) -> None:
    for count in (paths, points):
        with pytest.raises(ValueError, match="it takes a mapping of axes"):
            count({key: entry})


def test_a_zip_is_as_long_as_its_values_allow() -> None:
    long = {"range": [1, MOST, 1]}
    assert num_points({"a": long}) == MOST
    with pytest.raises(ValueError, match="more than 100,000"):
        points({"zip": {"a": long, "b": long}})
