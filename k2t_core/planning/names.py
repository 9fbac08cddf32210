"""Python names for modules, classes, parameters and tensors, each given once."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterable, Set

from k2t_core.names import unused
from k2t_core.planning.helper_sources import helper_sources

# Names that generated code uses for itself.
RESERVED = set(
    "self nn F torch math Path load_file load_model hidden cell states both forward_out backward_out forward_states"
    " backward_states _".split()
) | set(keyword.kwlist)
# Attributes of nn.Module that a submodule must not hide.
MODULE_ATTRIBUTES = set(
    "forward train eval training type half float double to cpu cuda apply modules parameters buffers children "
    "state_dict requires_grad_ compile share_memory register_buffer dump_patches call_super_init zero_grad "
    "add_module bfloat16 ipu xpu mtia to_empty extra_repr named_parameters named_modules named_children "
    "named_buffers get_parameter get_buffer get_submodule set_submodule get_extra_state set_extra_state "
    "load_state_dict T_destination register_module register_parameter register_backward_hook register_forward_hook "
    "register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook "
    "register_load_state_dict_post_hook register_load_state_dict_pre_hook register_state_dict_post_hook "
    "register_state_dict_pre_hook _apply _backward_hooks _backward_pre_hooks _buffers _call_impl _compiled_call_impl "
    "_forward_hooks _forward_hooks_always_called _forward_hooks_with_kwargs _forward_pre_hooks "
    "_forward_pre_hooks_with_kwargs _get_backward_hooks _get_backward_pre_hooks _get_name _is_full_backward_hook "
    "_load_from_state_dict _load_state_dict_post_hooks _load_state_dict_pre_hooks "
    "_maybe_warn_non_full_backward_hook _modules _named_members _non_persistent_buffers_set _parameters "
    "_register_load_state_dict_pre_hook _register_state_dict_hook _replicate_for_data_parallel "
    "_save_to_state_dict _slow_forward _state_dict_hooks _state_dict_pre_hooks _version _wrapped_call_impl".split()
)


def normal(name: str) -> str:
    """A name as Python reads an identifier: in Unicode's form NFKC, in which ``ｃlass`` is the keyword ``class``."""
    return re.sub(r"\W", "_", unicodedata.normalize("NFKC", name))


def in_docstring(text: str) -> str:
    """A name from outside, such as a file's, as it may stand in a docstring: no quote, backslash or line ends it."""
    return "".join(c if c.isprintable() and c not in '"\\' else "?" for c in text)


class Names:
    """Python identifiers from layer names, each given once and never one of ``reserved``."""

    def __init__(self, reserved: Set[str]):
        self.reserved = frozenset(reserved)
        self.taken = set(reserved)

    def new(self, name: str) -> str:
        """A free identifier near the name."""
        base = normal(name)
        base = f"layer_{base}" if not base or base[0].isdigit() or base.startswith("__") else base
        layer = f"{base}_layer"
        result = layer if base in self.reserved and layer not in self.taken else unused(base, self.taken)
        self.taken.add(result)
        return result


def common_beginning(names: Iterable[str]) -> str:
    """The common beginning of several names, up to an underscore."""
    first, last = min(names), max(names)
    return first[: first.rfind("_", 0, _alike_up_to(first, last)) + 1]


def common_prefix(names: Iterable[str]) -> str:
    first, last = min(names), max(names)
    return normal(first[: _alike_up_to(first, last)]).strip("_")


def _alike_up_to(first: str, last: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))


def snake_case(name: str) -> str:
    """ConvBNReLU → conv_bn_relu."""
    return re.sub(
        r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})",
        "_",
        name.replace("ReLU", "Relu").replace("SiLU", "Silu").replace("BN", "Bn"),
    ).lower()


def unique_identifiers(labels: Iterable[str]) -> list[str]:
    names: list[str] = []
    for label in labels:
        names.append(identifier(label, set(names)))
    return names


def identifier(label: str, taken: Set[str]) -> str:
    base = normal(label)
    base = f"x_{base}" if not base or base[0].isdigit() else base
    base = f"{base}_out" if base in RESERVED or base in helper_sources() else base
    return unused(base, taken)
