"""The shapes of MaskDINO under a small convolutional backbone, with seeded weights.

Li et al. 2023 (arXiv:2206.02777): maps of strides 8, 16 and 32 become one line of tokens, which an encoder of 6 layers
with deformable self attention (Zhu et al. 2021, arXiv:2010.04159) and a decoder of 3 layers with self attention and
deformable cross attention read for 300 queries. Other than there:

- The queries start as 300 encoder tokens at fixed places, evenly spread, not as those with the best scores; their
  places are the reference points of all decoder layers, which are not refined.
- What comes out is the class logits alone, no boxes and no masks: ``(batch, query * class)``, so that target
  ``query * 80 + class`` (:func:`target`) is one class of one query.
- Positions are drawn, not sine waves. Norms of the backbone's maps and denoising queries are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from harness.errors import InvalidInputError
from harness.graph import Axes, Graph
from ported_models.build import Builder
from ported_models.zoo.attention import Weights, attention, feed_forward, merge_heads

NAME = "mask-decoder"
SIDE, QUARTER = 800, 200
SEED = 18
QUERIES, CLASSES = 300, 80
INPUT_CHANNELS, WIDTH, HEADS, LEVELS, POINTS = 3, 256, 8, 3, 4
ENCODER, DECODER = 6, 3
#: Width of the feed-forward parts of the encoder's and of the decoder's layers.
HIDDEN = {"token": 1024, "query": 2048}
#: Channels of the backbone's convolutions, each of stride 2; the last three give the maps.
CHANNELS = (16, 32, 64, 128, 256)
TOKENS, QUERY = ("batch", "token", "feature"), ("batch", "query", "feature")

#: Height and width of a map.
Level = tuple[int, int]


def name_of(side: int) -> str:
    """The network's name for pictures of ``side`` x ``side``."""
    return {SIDE: NAME, QUARTER: f"{NAME}-quarter"}.get(side, f"{NAME}-{side}")


def target(query: int, label: int) -> int:
    """The output that is class ``label`` of query ``query``. Raises InvalidInputError where there is none."""
    if not (0 <= query < QUERIES and 0 <= label < CLASSES):
        raise InvalidInputError(
            f"query {query}, class {label}: expected a query from 0 to {QUERIES - 1}, a class from 0 to {CLASSES - 1}"
        )
    return query * CLASSES + label


def labels() -> tuple[str, ...]:
    """The names of the outputs."""
    return tuple(f"query {query}, class {label}" for query in range(QUERIES) for label in range(CLASSES))


def graph(side: int = SIDE) -> Graph:
    """The network for pictures of ``side`` x ``side`` x 3; the maps' sides are an eighth of it and less, rounded up.

    Weights are drawn from one generator; those of two sides agree but for the positions.
    """
    made = _Network(Builder(name_of(side), (side, side, INPUT_CHANNELS)))
    made.tokens()
    for number in range(1, ENCODER + 1):
        made.encoder_layer(f"encoder{number}")
    made.queries()
    for number in range(1, DECODER + 1):
        made.decoder_layer(f"decoder{number}")
    made.builder.add("dense", "class_scores", weights=made.weights(WIDTH, CLASSES))
    made.builder.add("flatten", "logits")
    return made.builder.graph()


@dataclass
class _Network:
    """The network while it is built; each method adds what its name says, behind what was added last."""

    builder: Builder
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(SEED))
    #: Draws positions, whose number depends on the picture.
    placing: np.random.Generator = field(default_factory=lambda: np.random.default_rng(SEED + 1))
    levels: list[Level] = field(default_factory=list)
    #: The encoder's output, which the decoder samples.
    memory: str = ""
    #: By the axis of rows, "token" or "query": what is added to the rows before attention, (row, feature).
    positions: dict[str, np.ndarray] = field(default_factory=dict)
    #: By the same: the place (x, y) of each row in the picture, from 0 to 1, (row, 2).
    references: dict[str, np.ndarray] = field(default_factory=dict)
    #: By the same: the references of all places, as grid sampling reads them, (row, (level, head, point, xy)).
    grids: dict[str, np.ndarray] = field(default_factory=dict)

    def tokens(self) -> None:
        """The backbone's last three maps, each projected to 256 channels, as one line of tokens."""
        lines, channels, before = [], INPUT_CHANNELS, self.builder.last
        for number, wide in enumerate(CHANNELS, start=1):
            kernel = self.weights(3, 3, channels, wide, gain=2)
            same = {"strides": (2, 2), "padding": "same"}
            self.builder.add("conv2d", f"conv{number}", before, same, kernel)
            before, channels = self.builder.add("relu", f"conv{number}_relu"), wide
            if number > len(CHANNELS) - LEVELS:
                height, width, _ = self.builder[before].shape
                self.levels.append((height, width))
                name = f"level{len(self.levels)}"
                self.builder.add("dense", f"{name}_map", weights=self.weights(wide, WIDTH))
                line = {"target": (height * width, WIDTH)}
                lines.append(self.builder.add("reshape", f"{name}_tokens", attributes=line, axes=TOKENS))
        self.builder.add("concat", "tokens", lines, {"axis": -2})
        self.references["token"] = np.concatenate([_centres(level) for level in self.levels])
        self.positions["token"] = self.drawn_positions(len(self.references["token"]))

    def encoder_layer(self, name: str) -> None:
        """Deformable self attention and feed-forward, each added to what it reads, the norms behind."""
        before = self.builder.last
        self.deformable(f"{name}_attention", self.placed(f"{name}_attention", before), before)
        self.added_and_normed(f"{name}_attention", before)
        self.wider(f"{name}_mlp")

    def queries(self) -> None:
        """300 of the encoder's tokens, evenly spread over the line."""
        self.memory = self.builder.last
        rows = np.linspace(0, len(self.references["token"]) - 1, QUERIES).round().astype(int)
        chosen = {"axis": -2, "indices": tuple(rows.tolist())}
        self.builder.add("take", "queries", attributes=chosen, axes=QUERY)
        self.references["query"] = self.references["token"][rows]
        self.positions["query"] = self.drawn_positions(QUERIES)

    def decoder_layer(self, name: str) -> None:
        """Self attention, deformable attention to the encoder's tokens, feed-forward, as the encoder's layer."""
        before = self.builder.last
        placed = self.placed(f"{name}_self", before)
        drawn = {part: self.weights(WIDTH, WIDTH) for part in ("query", "key", "value", "output")}
        attention(self.builder, f"{name}_self", drawn.__getitem__, HEADS, placed, placed, before)
        self.added_and_normed(f"{name}_self", before)
        before = self.builder.last
        self.deformable(f"{name}_cross", self.placed(f"{name}_cross", before), self.memory)
        self.added_and_normed(f"{name}_cross", before)
        self.wider(f"{name}_mlp")

    def deformable(self, name: str, query: str, memory: str) -> None:
        """Each row of ``query`` reads ``memory``'s maps at 4 places a head and level (Zhu et al. 2021, eq. 3).

        A place is the row's reference point and an offset in pixels of the level, which a dense layer predicts; another
        one and a softmax over levels and places give what the samples are weighted with.
        """
        builder, rows = self.builder, self.builder[query].axes[1]
        count, samples = self.builder[query].shape[0], LEVELS * POINTS
        builder.add("dense", f"{name}_value", memory, weights=self.weights(WIDTH, WIDTH))
        self.places(f"{name}_places", query)
        sampled = [self.sampled(name, number, count, rows) for number in range(LEVELS)]
        builder.add("concat", f"{name}_samples", sampled, {"axis": -2})
        builder.add("dense", f"{name}_scores", query, weights=self.weights(WIDTH, HEADS * samples))
        split: Axes = ("batch", rows, "head", "point")
        builder.add(
            "reshape", f"{name}_scores_split", attributes={"target": (count, HEADS, samples)}, axes=split
        )
        builder.add("softmax", f"{name}_weights")
        builder.add("permute", f"{name}_weights_heads", attributes={"dims": (2, 1, 3)})
        one_row: Axes = ("batch", "head", rows, "row", "point")
        target = {"target": (HEADS, count, 1, samples)}
        builder.add("reshape", f"{name}_weights_rows", attributes=target, axes=one_row)
        read = (f"{name}_weights_rows", f"{name}_samples")
        builder.add("matmul", f"{name}_mixed_rows", read, axes=(*one_row[:-1], "feature"))
        merged = {"target": (HEADS, count, WIDTH // HEADS)}
        builder.add("reshape", f"{name}_mixed", attributes=merged, axes=("batch", "head", rows, "feature"))
        merge_heads(builder, f"{name}_mixed", rows)
        builder.add("dense", f"{name}_output", weights=self.weights(WIDTH, WIDTH))

    def places(self, name: str, query: str) -> None:
        """Where each row of ``query`` samples: (batch, row, (level, head, point, xy)), from -1 to 1 in the picture."""
        rows = self.builder[query].axes[1]
        weights = self.weights(WIDTH, LEVELS * HEADS * POINTS * 2, gain=0.1)
        # As there: at first each head looks into a direction of its own, each point one pixel further.
        angles = 2 * np.pi * np.arange(HEADS) / HEADS
        directions = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        directions /= np.abs(directions).max(axis=-1, keepdims=True)
        steps = directions[:, np.newaxis] * np.arange(1, POINTS + 1)[:, np.newaxis]
        weights = {**weights, "bias": np.tile(steps.ravel(), LEVELS).astype(np.float32)}
        self.builder.add("dense", f"{name}_offsets", query, weights=weights)
        pixel = np.concatenate([np.tile((2 / w, 2 / h), HEADS * POINTS) for h, w in self.levels])
        self.builder.add("scale", f"{name}_scaled", weights={"kernel": pixel.astype(np.float32)})
        if rows not in self.grids:
            centres = 2 * self.references[rows] - 1
            self.grids[rows] = np.tile(centres, LEVELS * HEADS * POINTS).astype(np.float32)
        self.builder.add("affine", name, weights={"bias": self.grids[rows]})

    def sampled(self, name: str, number: int, count: int, rows: str) -> str:
        """The values of level ``number`` at its places: (batch, head, row, point, feature)."""
        builder, (height, width) = self.builder, self.levels[number]
        level, per_level = f"{name}_level{number + 1}", HEADS * POINTS * 2
        sizes = [h * w for h, w in self.levels]
        outside = ((sum(sizes[:number]), sum(sizes[number + 1 :])),)
        builder.add("crop", f"{level}_value", f"{name}_value", {"padding": outside})
        axes = ("batch", "height", "width", "head", "feature")
        split = {"target": (height, width, HEADS, WIDTH // HEADS)}
        builder.add("reshape", f"{level}_split", attributes=split, axes=axes)
        maps = builder.add("permute", f"{level}_maps", attributes={"dims": (3, 1, 2, 4)})
        own = {"axis": -1, "indices": tuple(range(number * per_level, (number + 1) * per_level))}
        builder.add("take", f"{level}_places", f"{name}_places", own)
        axes = ("batch", rows, "head", "point", "place")
        split = {"target": (count, HEADS, POINTS, 2)}
        builder.add("reshape", f"{level}_places_split", attributes=split, axes=axes)
        places = builder.add("permute", f"{level}_places_heads", attributes={"dims": (2, 1, 3, 4)})
        axes = ("batch", "head", rows, "point", "feature")
        return builder.add("grid_sample", f"{level}_samples", (maps, places), axes=axes)

    def placed(self, name: str, source: str) -> str:
        """``source`` with the positions of its rows added."""
        bias = {"bias": self.positions[self.builder[source].axes[1]]}
        return self.builder.add("affine", f"{name}_placed", source, weights=bias)

    def wider(self, name: str) -> None:
        """Feed-forward, added to what it reads, the norm behind."""
        before = self.builder.last
        hidden = HIDDEN[self.builder[before].axes[1]]
        drawn = {"wide": self.weights(WIDTH, hidden, gain=2), "narrow": self.weights(hidden, WIDTH)}
        feed_forward(self.builder, name, drawn.__getitem__, "relu", before)
        self.added_and_normed(name, before)

    def added_and_normed(self, name: str, before: str) -> None:
        """What was added last and ``before``, and a layer norm."""
        self.builder.add("add", f"{name}_add", (self.builder.last, before))
        gamma, beta = (0.5 + self.generator.standard_normal(WIDTH, np.float32) / 10 for _ in range(2))
        self.builder.add(
            "layer_norm", f"{name}_norm", None, {"epsilon": 1e-5}, {"gamma": gamma, "beta": beta}
        )

    def drawn_positions(self, rows: int) -> np.ndarray:
        return self.placing.standard_normal((rows, WIDTH), np.float32) / 2

    def weights(self, *shape: int, gain: float = 1) -> Weights:
        """A kernel of mean square ``gain`` over the number of inputs of a unit, and biases of a tenth of its root.

        The mean of a dense layer's kernel is a fifth of its deviation, and the norms' output is 0.5 on average, so that
        the sums of a layer do not nearly cancel: drawn around zero, the relevance of the input adds up to 10^18 times
        the logit in absolute value, which no trained network shows, and rounding is all that is seen of it.
        """
        shift = np.float32(0.2 if len(shape) == 2 else 0)
        root = np.float32(np.sqrt(gain / np.prod(shape[:-1])))
        kernel = self.generator.standard_normal(shape, np.float32) + shift
        return {
            "kernel": kernel * root / np.sqrt(1 + shift**2),
            "bias": self.generator.standard_normal(shape[-1], np.float32) * root / 10,
        }


def _centres(level: Level) -> np.ndarray:
    """(x, y) of the middle of each pixel, from 0 to 1, row by row: (height * width, 2)."""
    height, width = level
    y, x = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=-1)
