"""What a worker says, and nothing else: the process may have been taken over by what runs in it."""

from __future__ import annotations

from typing import Any

from k2t_core.processes.messages import MessageError

# The parts of a message, and of which type each is.
PARTS: dict[str, tuple[type, ...]] = {
    "id": (int,),
    "share": (int, float),
    "text": (str,),
    "failed": (str,),
    "words": (str, list),
    "where": (str,),
    "ready": (int,),
    "on": (dict,),
    "off": (dict,),
}
# Ready to work, how far it is, what a call gives, or how it failed. ``done`` may be anything.
FORMS = (("ready", "on", "off"), ("id", "share", "text"), ("id", "done"), ("id", "failed"))


def check_answer(message: Any) -> None:
    """Raise MessageError for what no worker says."""
    if (
        not isinstance(message, dict)
        or not all(isinstance(message[name], types) for name, types in PARTS.items() if name in message)
        or not any({*parts} <= message.keys() for parts in FORMS)
    ):
        raise MessageError("no answer of a worker's")
