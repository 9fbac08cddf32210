"""Whether a batch fits in memory, asked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from k2t_core.errors import InputError
from k2t_core.graph import Graph
from k2t_core.words import size_text

# Of Keras's tensors that are kept at a time; torch's take as much again, the float64 pass no more.
CHUNK_BYTES = 1 << 30
FREE = 64  # a free dimension counts as this many


def available() -> int | None:
    """Bytes of memory that are free, of the machine's and of what this process may have; None where the system does
    not say.
    """
    found = [free for free in (_said("/proc/meminfo", "MemAvailable:"), _left_to_this_process()) if free is not None]
    return min(found, default=None)


def _left_to_this_process() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit, used = resource.getrlimit(resource.RLIMIT_DATA)[0], _said("/proc/self/status", "VmData:")
    return None if limit == resource.RLIM_INFINITY or used is None else max(limit - used, 0)


def _said(path: str, line: str) -> int | None:
    """What a file of the kernel's says in kB, in bytes."""
    try:
        lines = Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(found.split()[1]) * 1024 for found in lines if found.startswith(line)), None)


def check_file(path: Path, count: int) -> None:
    """Raise InputError where a file of ``count`` bytes, unpacked, cannot be read into memory."""
    free = available()
    if free is not None and count > free:
        raise InputError(
            f"{path.name}: holds {size_text(count)}, and {size_text(free)} of memory are free; give fewer samples"
        )


def check_batch(graph: Graph, batch: int) -> None:
    """Raise InputError where the layers cannot be computed on so many samples at once."""
    free, needed = available(), needs(graph, batch)
    if free is None or needed <= free:
        return
    fit = max(int(batch * free / needed), 0)
    raise InputError(
        f"a batch of {batch} takes about {size_text(needed)} in this model, and {size_text(free)} of memory are free; "
        f"give {f'fewer samples, such as {fit}' if fit else 'a smaller batch'}"
    )


def needs(graph: Graph, batch: int) -> int:
    """Bytes that a comparison takes at its peak, roughly: of both sides, and of the largest call in float64."""
    inputs = sum(nbytes(graph.tensors[t].shape, batch) for t in graph.inputs)
    largest = max((sum(outputs.values()) + sum(given.values()) for outputs, given in calls(graph, batch)), default=0)
    return 4 * inputs + 2 * min(total(graph, batch), CHUNK_BYTES) + 6 * largest


def total(graph: Graph, batch: int) -> int:
    """Bytes of every tensor that a model computes."""
    return sum(size for outputs, _ in calls(graph, batch) for size in outputs.values())


def calls(
    graph: Graph, batch: int, scope: str = "", above: dict[str, int] | None = None
) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """(output tensors, input tensors) of every call, with their bytes.

    above: what the calls around a nested one need.
    """

    def sizes(tensors: Sequence[str]) -> dict[str, int]:
        return {scope + t: nbytes(graph.tensors[t].shape, batch) for t in tensors}

    for node in graph.nodes:
        inputs = {**(above or {}), **sizes(node.inputs)}
        if node.layer.graph is not None:
            yield from calls(node.layer.graph, batch, f"{scope}{node.id}/", inputs)
        yield sizes(node.outputs), inputs


def nbytes(shape: tuple[int | None, ...], batch: int) -> int:
    count = shape[0] if shape and shape[0] is not None else batch
    for n in shape[1:]:
        count *= FREE if n is None else n
    return 4 * count
