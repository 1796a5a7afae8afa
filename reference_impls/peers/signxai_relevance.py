"""The relevance between the layers, read from the real signxai 1.1.9.2 while it works. Runs in its interpreter only."""

from __future__ import annotations

from typing import Any

import numpy as np


class Relevance:
    """The relevance that reached each layer's output, over the runs of one sample.

    ``network``: a `keras2.Network`. ``statistic``: "mean" or (population) "variance" of the runs. ``target``: the place
    of the output that the runs start from. ``runs``: how many were made.
    It is read where the library hands it on: each reader of a layer calls that layer's `try_explain` with its
    share. (`layer.explanation` holds the same, except that `InputTimesGradient` has it times the input.)
    """

    def __init__(self, network: Any, target: int, statistic: str = "mean") -> None:
        self._network = network
        self._target = target
        self._statistic = statistic
        self._run: dict[str, np.ndarray] = {}
        self.runs = 0
        self._mean: dict[str, np.ndarray] = {}
        self._squares: dict[str, np.ndarray] = {}

    def watch(self, network_analyzer: Any) -> None:
        """Listen to the layers of an analyzer that has just been made, in every run of it."""
        create, analyze = network_analyzer.create_analyzer_model, network_analyzer.analyze

        def creating(*args: Any, **kwargs: Any) -> None:
            create(*args, **kwargs)
            _, layers = network_analyzer._analyzer_model._reverse_model
            for layer in layers:
                self._listen(layer)

        def analyzing(*args: Any, **kwargs: Any) -> Any:
            result = analyze(*args, **kwargs)
            self._end_run()
            return result

        network_analyzer.create_analyzer_model = creating
        network_analyzer.analyze = analyzing

    def over_runs(self) -> dict[str, np.ndarray]:
        """The statistic of the runs by canonical name, float64, batch axis first."""
        if self._statistic == "mean":
            return self._mean
        return {name: squares / self.runs for name, squares in self._squares.items()}

    def _listen(self, layer: Any) -> None:
        from signxai.methods.innvestigate.analyzer import gradient_based

        name = self._network.produces[layer.name]
        explain = layer.try_explain
        per_edge = (gradient_based.GuidedBackpropReplacementLayer, gradient_based.DeconvnetReplacementLayer)
        # These two rectify each reader's share before they add them up, if there are several.
        rectifies = isinstance(layer, per_edge) and len(layer.layer_next) > 1

        def explaining(share: Any) -> None:
            if share is None:
                reached = self._head(layer)
            else:
                reached = np.maximum(share, 0) if rectifies else np.asarray(share)
            before = self._run.get(name)
            self._run[name] = reached if before is None else before + reached
            explain(share)

        layer.try_explain = explaining

    def _head(self, layer: Any) -> np.ndarray:
        """What the output layer starts with: its selected output, at the place of the target.

        `SIGNRule` as the output layer selects nothing; the library fails there next.
        """
        outputs = np.asarray(layer.hook_vals[0] if isinstance(layer.hook_vals, tuple) else layer.hook_vals)
        if outputs.size > 1:
            return outputs
        start = np.zeros((1, *layer.output_shape[0][1:]), outputs.dtype)
        start.flat[self._target] = outputs.item()
        return start

    def _end_run(self) -> None:
        """Mean and sum of squared deviations by Welford's recurrence (Knuth, TAOCP vol. 2, 4.2.2, eq. 15 and 16)."""
        self.runs += 1
        for name, reached in self._run.items():
            now = reached.astype(np.float64)
            before = self._mean.get(name, np.zeros_like(now))
            self._mean[name] = before + (now - before) / self.runs
            if self._statistic == "variance":
                squares = self._squares.get(name, np.zeros_like(now))
                self._squares[name] = squares + (now - before) * (now - self._mean[name])
        self._run = {}
