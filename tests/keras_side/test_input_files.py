"""The user's own batch, from files of several kinds, checked against the model."""

import keras
import numpy as np
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side.input_files import check_inputs, read_inputs
from k2t_core.keras_side.reading import read as read_model
from k2t_core.keras_side.tracing import trace


def graph():
    x, ids = keras.Input((3,), name="x"), keras.Input((2,), dtype="int32", name="ids")
    return read_model(keras.Model([x, ids], [layers.Dense(2)(x), layers.Embedding(5, 2)(ids)])).graph


X, IDS = np.ones((4, 3), "float64"), np.array([[0, 4]] * 4)


def test_arrays_of_a_file_go_by_name_or_in_order(tmp_path):
    np.savez(tmp_path / "named.npz", ids=IDS, x=X)
    np.savez(tmp_path / "ordered.npz", X, IDS)
    for name in ("named.npz", "ordered.npz"):
        x, ids = read_inputs(tmp_path / name, graph())
        assert x.dtype == np.float32 and ids.dtype == np.int32 and np.array_equal(ids, IDS)


@pytest.mark.parametrize(
    ("x", "ids", "words"),
    [
        (X[:2], IDS, "same batch size"),
        (X[:0], IDS[:0], "at least 1"),
        (X[:, :2], IDS, r"input 'x' has shape \(4, 2\), the model takes \(any, 3\)"),
        (X * np.nan, IDS, "holds NaN or infinity"),
        (X * 1e300, IDS, "beyond the range of float32"),
        (X.astype("complex64"), IDS, "not numbers"),
        (X, IDS + 0.5, "must be whole numbers"),
        (X, IDS + 1, "tokens from 1 to 5, but the Embedding knows 0 to 4"),
    ],
)
def test_what_does_not_fit_is_told(x, ids, words):
    with pytest.raises(k2t.InputError, match=words):
        check_inputs([x, ids], graph())


def test_the_count_of_arrays():
    with pytest.raises(k2t.InputError, match="1 arrays for a model of 2 inputs"):
        check_inputs([X], graph())


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.npy", None, "no such file"),
        ("batch.txt", b"1 2 3", "not a kind of file"),
        ("broken.npz", b"PK\x03\x04 and no more", "not a .npy or .npz file of numbers"),
        ("objects.npy", "pickled", "it holds Python objects, or is damaged"),
    ],
)
def test_files_that_hold_no_batch(name, content, words, tmp_path):
    if content == "pickled":
        np.save(tmp_path / name, np.array([{}]), allow_pickle=True)
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(k2t.InputError, match=words):
        read_inputs(tmp_path / name, graph())


def test_a_table_of_numbers(converted, example, tmp_path):
    rng = np.random.default_rng(0)
    names = ",".join(f"feature{k}" for k in range(10))
    np.savetxt(tmp_path / "rows.csv", rng.standard_normal((5, 10)), delimiter=",", header=names, comments="")
    report = k2t.verify(
        converted("dense"), example("dense"), inputs=tmp_path / "rows.csv", weights="model", edge_cases=False
    )
    assert report.passed and report.outputs[0].keras_shape == (5, 10)
    np.savetxt(tmp_path / "few.csv", rng.standard_normal((5, 3)), delimiter=",", header="a,b,c", comments="")
    (tmp_path / "words.csv").write_text("a,b\nred,blue\n")
    for name, words in (
        ("few.csv", "3 columns.*takes 10"),
        ("words.csv", "not a table of numbers"),
        ("none.csv", "no such file"),
    ):
        with pytest.raises(k2t.InputError, match=words):
            k2t.verify(converted("dense"), example("dense"), inputs=tmp_path / name)


def test_the_columns_of_a_table_find_their_inputs(tmp_path):
    size, age = keras.Input((3,), name="size"), keras.Input((1,), dtype="int32", name="age")
    model = keras.Model(
        [size, age], keras.layers.Concatenate()([size, keras.layers.Flatten()(keras.layers.Embedding(9, 2)(age))])
    )
    graph = trace(k2t.load(model)).graph

    def read(text: str) -> list[list]:
        (tmp_path / "t.csv").write_text(text)
        return [array.tolist() for array in read_inputs(tmp_path / "t.csv", graph)]

    right = [[[1, 2, 3], [4, 5, 6]], [[7], [8]]]
    assert read("age,size_2,size_0,size_1\n7,3,1,2\n8,6,4,5\n") == right, "by name"
    assert read("a,b,c,d\n1,2,3,7\n4,5,6,8\n") == right, "in order"
    assert read("1,2,3,7\n4,5,6,8\n") == right, "without a line of names"
    assert read("age,id,size[0],size[1],size[2]\n7,0,1,2,3\n8,0,4,5,6\n") == right, "beside columns that nothing takes"
    with pytest.raises(
        k2t.InputError,
        match=r"has 3 columns, the model takes 4 numbers \(size 3, age 1\), by the name of the input or in order",
    ):
        read("a,b,c\n1,2,3\n")
    with pytest.raises(k2t.InputError, match="'age' holds tokens from 70"):
        read("1,2,3,70\n")


def test_a_folder_of_images(converted, example, tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for k, size in enumerate(((28, 28), (40, 30))):
        Image.fromarray(rng.integers(0, 256, (*size, 3), "uint8")).save(tmp_path / f"{k}.png")
    report = k2t.verify(converted("convnet"), example("convnet"), inputs=tmp_path, weights="model", edge_cases=False)
    assert report.passed and report.outputs[0].keras_shape == (2, 10)
    (tmp_path / "0.png").write_bytes(b"not an image")
    with pytest.raises(k2t.InputError, match="0.png: not an image"):
        k2t.verify(converted("convnet"), example("convnet"), inputs=tmp_path)
    with pytest.raises(k2t.InputError, match="not images"):
        k2t.verify(converted("dense"), example("dense"), inputs=tmp_path)
