"""Two layers of attention over two tokens, whose weights are simple fractions."""

from __future__ import annotations

import numpy as np

from harness.graph import Graph
from ported_models.build import Builder

#: The softmax of (ln 3, 0) is (3/4, 1/4).
ROOT = float(np.sqrt(np.log(3)))
#: (batch, token, head * feature): the tokens of head 1 are (ROOT, 0) and (0, 0), those of head 2 (0, 0) and (0, ROOT).
X = np.array([[[ROOT, 0, 0, 0], [0, 0, 0, ROOT]]])


def two_tokens() -> Graph:
    """Attention of 2 heads, ``softmax(x x^T) x`` on :data:`X`, and another one with weights that depend on nothing.

    First: head 1 [[3/4, 1/4], [1/2, 1/2]], head 2 [[1/2, 1/2], [1/4, 3/4]]. Second: head 1 [[3/4, 1/4], [1/2, 1/2]],
    head 2 [[3/4, 1/4], [1/4, 3/4]]; its values are the first one's output. Output 0 is, of the first token, 4 / ROOT
    times the first feature of head 1 minus 8 / ROOT times the second feature of head 2; output 1 is 0.
    """
    b = Builder("two_tokens", (2, 4))
    b.add("reshape", "split", attributes={"target": (2, 2, 2)})
    b.add("permute", "heads", attributes={"dims": (2, 1, 3)})
    b.add("matmul", "scores1", ("heads", "heads"), {"transposed": True})
    b.add("softmax", "weights1")
    b.add("matmul", "mixed1", ("weights1", "heads"))
    held = np.array([[[ROOT, 0], [0, 0]], [[ROOT, 0], [0, ROOT]]])
    b.add("affine", "held", weights={"kernel": np.zeros_like(held), "bias": held})
    b.add("matmul", "scores2", ("held", "held"), {"transposed": True})
    b.add("softmax", "weights2")
    b.add("matmul", "mixed2", ("weights2", "mixed1"))
    b.add("permute", "tokens", attributes={"dims": (2, 1, 3)})
    b.add("reshape", "merged", attributes={"target": (2, 4)})
    b.add("take", "first", attributes={"axis": -2, "indices": (0,)})
    b.add("flatten", "row")
    kernel = np.array([[4 / ROOT, 0], [0, 0], [0, 0], [-8 / ROOT, 0]])
    b.add("dense", "logits", weights={"kernel": kernel})
    return b.graph()
