"""Weight transforms: what they do, that they can be undone, and that their JSON says it all."""

import json

import numpy as np
import pytest

from k2t_core.errors import K2TError
from k2t_core.transforms import (
    Constant,
    Fill,
    Permute,
    ReorderBlocks,
    ReorderFlatten,
    Reshape,
    SqrtAtLeast,
    Take,
    apply_chain,
    chain_shape,
    describe,
    from_json,
)

CASES = [
    ((Permute((3, 2, 0, 1)),), (2, 3, 4, 5)),
    ((Permute((1, 0)),), (6, 8)),
    ((ReorderBlocks(0, (1, 0, 2), "z,r,h", "r,z,n"),), (6, 4)),
    ((Permute((1, 0)), ReorderBlocks(0, (0, 2, 1, 3), "i,f,c,o", "i,c,f,o")), (3, 8)),
    ((ReorderFlatten(0, (2, 3, 4), (2, 0, 1)), Permute((1, 0))), (24, 5)),
    ((Reshape((4, 2, 3), (4, 6)), Permute((1, 0))), (4, 2, 3)),
]


@pytest.mark.parametrize("steps, shape", CASES)
def test_chain_is_invertible_and_its_shape_is_known_beforehand(steps, shape):
    array = np.random.default_rng(0).standard_normal(shape).astype("float32")
    result = apply_chain(steps, array)
    assert result.shape == chain_shape(steps, shape)
    for step in reversed(steps):
        result = step.invert(result)
    assert np.array_equal(result, array)


@pytest.mark.parametrize("steps, shape", CASES + [((Take(0, 1),), (2, 6)), ((SqrtAtLeast(1e-7),), (3,))])
def test_json_replays(steps, shape):
    array = np.random.default_rng(1).uniform(0.1, 1, shape).astype("float32")
    again = [from_json(json.loads(json.dumps(step.to_json()))) for step in steps]
    assert np.array_equal(apply_chain(again, array), apply_chain(steps, array))
    assert describe(again) == describe(steps)


def test_entries_without_a_variable():
    assert np.array_equal(apply_chain((Fill((3,), 1.0),), None), np.ones(3, "float32"))
    assert apply_chain((Fill((), 0, "int64"),), None).dtype == np.int64
    assert apply_chain((Constant([[1, 2]], "float32"),), None).shape == (1, 2)


def test_a_misfit_is_refused_with_the_shape():
    with pytest.raises(K2TError, match=r"\(3, 4\)"):
        chain_shape((Permute((2, 1, 0)),), (3, 4))
    with pytest.raises(K2TError, match="flatten order"):
        chain_shape((ReorderFlatten(0, (2, 3, 4), (2, 0, 1)),), (25, 5))
    with pytest.raises(K2TError, match="unknown weight transform"):
        from_json({"name": "rot13"})


def test_flatten_order_is_torch_s():
    """Dense(flatten(NHWC)) with Keras's kernel = Linear(flatten(NCHW)) with the re-ordered one."""
    rng = np.random.default_rng(2)
    x, kernel = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((60, 7))
    weight = apply_chain((ReorderFlatten(0, (3, 4, 5), (2, 0, 1)), Permute((1, 0))), kernel)
    np.testing.assert_allclose(x.transpose(0, 3, 1, 2).reshape(2, -1) @ weight.T, x.reshape(2, -1) @ kernel)
