"""What is on the scoreboard: a row for each library, each of its methods that we have too, and each network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.backends.user_file import from_file
from harness.backends.worker import Peer
from harness.errors import HarnessError
from harness.peers import peers

#: The small networks first: what fails there is known early.
MODELS = ("digits-cnn", "ecg-cnn1d", "fer-xception", "efficientnet-lite0", "vgg16-mri")


@dataclass(frozen=True)
class Row:
    """``says``: what a user of the library writes.

    ``method``: ours, with ``{bounds}`` where it wants those of the input.
    """

    library: str
    method: str
    says: str
    model: str

    def method_for(self, x: np.ndarray) -> str:
        """The method for input ``x``: bounds are the whole numbers that its values lie between."""
        low, high = np.floor(x.min()), np.ceil(x.max())
        return self.method.replace("{bounds}", f"low={low:g},high={high:g}")


def libraries() -> dict[str, Peer]:
    """By name, the peers that run beside the harness: they are candidates, the others are references."""
    return {name: peer for name, peer in peers().items() if peer.beside}


def library_named(name: str) -> Peer:
    """Raises HarnessError for a library that is not on the scoreboard."""
    known = libraries()
    if name not in known:
        raise HarnessError(f"{name} is not on the scoreboard; there are {', '.join(known)}")
    return known[name]


def calls_of(library: Peer) -> dict[str, str]:
    """By method of ours, what a user of ``library`` writes. Its adapter is loaded, the library itself is not."""
    return from_file(f"{library.adapter}:SAYS", "table of calls", dict)


def rows(names: tuple[str, ...], models: tuple[str, ...]) -> Iterator[Row]:
    """Every row of these libraries and networks, library by library, network by network."""
    for name in names:
        calls = calls_of(library_named(name))
        for model in models:
            for method, says in calls.items():
                yield Row(name, method, says, model)
