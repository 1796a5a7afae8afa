"""In which order goldens are verified, so that those that share most follow each other."""

from __future__ import annotations

from collections.abc import Sequence

from harness.engine import in_shared_order
from harness.golden.entry import method_in
from harness.golden.inspect import Root, load_entry
from harness.golden.manifest import place_of
from harness.golden.sources import Models


def in_order(root: Root, names: Sequence[str], models: Models) -> list[str]:
    """``names``, all of one model, so that methods that agree from the output down are neighbours.

    As they are where the model or a method cannot be read: the entry's own row says why.
    """
    try:
        methods = {name: method_in(place_of(root.root, root.entries[name]["file"])) for name in names}
        first = load_entry(root.root, names[0], root.entries[names[0]], root.manifest.files)
        digest, source = str(first.facts["model_digest"]), first.facts["source"]
        model = models.of(first.trace.model, digest, source, first.example)
        ordered = in_shared_order(list(methods.values()), model.graph)
    except Exception:  # files may be anything, and a model other people's code
        return list(names)
    return sorted(names, key=lambda name: (name.rpartition(".")[2], ordered.index(methods[name])))
