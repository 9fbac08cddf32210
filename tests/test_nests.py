"""Walks over nests."""

from collections import namedtuple

import pytest

from k2t_core.nests import leaves, mapped

Pair = namedtuple("Pair", "a b")
NESTS = [3, [], (), {}, [1, (2, [3])], {"a": [1], "b": {"c": (2,)}}, (slice(1, None, 2), 4), [Pair(1, [2, 3])], None]


@pytest.mark.parametrize("nest", NESTS)
def test_mapped_keeps_the_form_and_meets_every_leaf_in_order(nest):
    seen = []
    again = mapped(lambda leaf: seen.append(leaf) or leaf, nest)
    assert again == nest and type(again) is type(nest)
    assert seen == list(leaves(nest))


def test_a_slice_is_walked_into_and_a_named_tuple_stays_one():
    assert list(leaves([slice(1, "x"), {"k": 2}])) == [1, "x", None, 2]
    assert mapped(str, slice(1, 2)) == slice("1", "2", "None")
    assert mapped(lambda n: n + 1, [Pair(1, (2,))]) == [Pair(2, (3,))]
