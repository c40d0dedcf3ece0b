"""Best and second best: against sorting, and the paper's own lines of improvements."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_eval.ranking import Entry, above_no_adaptation, above_second_best, rank

groups = st.sampled_from(["one", "two"])
numbers = st.none() | st.floats(0, 100) | st.sampled_from([10.0, 10.001, 10.004, 10.006, 20.0])
tables = st.lists(st.tuples(groups, st.booleans(), numbers), max_size=12)


def entries_of(table: list[tuple[str, bool, float | None]]) -> list[Entry]:
    return [Entry(group=group, ranked=ranked, unadapted=False) for group, ranked, _ in table]


@settings(deadline=None)
@given(tables)
def test_the_first_place_has_no_higher_number_in_its_group_and_the_second_only_the_first(
    table: list[tuple[str, bool, float | None]],
) -> None:
    places = rank(entries_of(table), [value for _, _, value in table])
    for name in ("one", "two"):
        ranked = [
            (f"{value:.2f}", place)
            for (group, takes_part, value), place in zip(table, places, strict=True)
            if group == name and takes_part and value is not None
        ]
        printed = sorted((float(text) for text, _ in ranked), reverse=True)
        expected = [1 + printed.index(float(text)) if len(ranked) > 1 else None for text, _ in ranked]
        assert [place for _, place in ranked] == expected
    for (_, takes_part, value), place in zip(table, places, strict=True):
        assert place is None or (takes_part and value is not None)


def test_equal_as_printed_is_equal() -> None:
    entries = [Entry(group="", ranked=True, unadapted=False)] * 4
    assert rank(entries, [10.001, 10.004, 9.0, None]) == [1, 1, 3, None]
    assert rank(entries, [10.0, 9.0, 9.001, 8.0]) == [1, 2, 2, 4]
    assert rank(entries, [None, 9.0, None, None]) == [None] * 4, "one alone isn't better than anything"


def column(*values: float) -> list[float | None]:
    return list(values)


def test_improvements_of_table_1_line_14_and_table_6_line_8() -> None:
    """Per metric the best of the adapted ones, whichever that is, above line 10."""
    entries = [Entry(group="g", ranked=index > 0, unadapted=index == 0) for index in range(4)]
    table = {
        "edit": (column(12.60, 14.38, 28.59, 28.13), 15.99),
        "f1_10": (column(10.18, 10.80, 29.58, 28.75), 19.40),
        "f1_25": (column(7.21, 6.53, 24.84, 24.16), 17.63),
        "f1_50": (column(2.40, 2.33, 16.38, 15.79), 13.98),
        "mof": (column(14.15, 10.94, 31.36, 32.67), 18.52),
    }
    for values, printed in table.values():
        assert above_no_adaptation(entries, values, "g") == pytest.approx(printed, abs=1e-9)
    fall = above_no_adaptation(entries[:2], column(26.82, 25.67), "g")
    assert fall == pytest.approx(-1.15), "the only method may be worse"


def test_improvements_of_table_3() -> None:
    entries = [Entry(group="", ranked=index > 0, unadapted=index == 0) for index in range(10)]
    edit = column(12.60, 16.98, 17.13, 16.57, 16.03, 13.82, 17.84, 15.27, 13.27, 28.59)
    mof = column(14.15, 10.11, 17.72, 16.84, 16.42, 13.21, 17.63, 14.82, 10.61, 31.36)
    assert above_second_best(entries, edit, "") == pytest.approx(10.75)
    assert above_second_best(entries, mof, "") == pytest.approx(13.64)


def test_nothing_to_compare_has_no_improvement() -> None:
    entries = [Entry(group="g", ranked=index > 0, unadapted=index == 0) for index in range(3)]
    assert above_no_adaptation(entries, [None, 1.0, 2.0], "g") is None
    assert above_no_adaptation(entries, [1.0, None, None], "g") is None
    assert above_second_best(entries, [1.0, None, 2.0], "g") is None
    assert above_no_adaptation(entries, [1.0, 2.0, 3.0], "elsewhere") is None
