"""A bounded map drops its oldest entry first."""

from campshub.core.cache.bounded import BoundedMap


def test_the_oldest_entry_is_dropped():
    numbers = BoundedMap(3)
    for number in range(5):
        numbers.put(number, str(number))

    assert dict(numbers) == {2: "2", 3: "3", 4: "4"}


def test_a_replaced_entry_drops_no_other():
    numbers = BoundedMap(2)
    for number, text in ((1, "a"), (2, "b"), (1, "c")):
        numbers.put(number, text)

    assert dict(numbers) == {1: "c", 2: "b"}
