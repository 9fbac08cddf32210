"""Names that may be given once only."""

from k2t_core.names import unused


def test_the_first_free_one_is_given():
    assert unused("conv", set()) == "conv"
    assert unused("conv", {"conv"}) == "conv_2"
    assert unused("conv", ["conv", "conv_2", "conv_4"]) == "conv_3"
    assert unused("Model", {"Model": 1}, join="") == "Model2"
