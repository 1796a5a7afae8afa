"""What was measured of lxt, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from evidence.lxt.cases import MENDED, TWINS

_INTRODUCTION = """\
# lxt 2.1

Written by `python -m evidence.lxt --big`. lxt runs in an interpreter of its own (`xai-harness peers install lxt`) as
the candidate; the reference is this project's TensorFlow one, which shares no line with it. Distances are relative
L2."""
_AGREEMENT = """\
## The same function

`attnlrp:dialect=lxt` and `cp_lrp:dialect=lxt` are plain data: the rules and the epsilons of the functions of
`lxt.explicit`, added whatever the sign of the denominator. `lxt.explicit` is asked on the torch twin, where autograd
shows the relevance at each layer; on torchvision's network its rules stand in the place of the network's own modules,
and the attribution is compared. `lxt.efficient` is asked as its users do, with its patch map for torchvision; it adds
no epsilon but 1e-10 to the inputs of GELU, and is compared with `cp_lrp:epsilon=0,norm=held`.

| network | method | lxt | dtype | layers | furthest layer | attribution | verdict |
| --- | --- | --- | --- | --- | --- | --- | --- |"""
_REMARKS = """\
*close* in float64 has a cause, and with that changed in lxt (the rows that say so) the two are one function:

- `gated-net`, and `minilm-l6`, whose embedding is brought to length one by an RMS norm: `rms_norm_identity` computes in
  float32 whatever the dtype (`hidden_states.to(torch.float32)`). In float32 the two are one function.
- `efficient`: the 1e-10 that it adds to the inputs of GELU."""
_PLAIN = """\
## Without the dialect

How far plainer names of ours are from lxt, in float64: with `norm=held` the epsilon's size and sign are all that
differs (here 1e-6 on the side of the sign, there 1e-6 or 1e-8 added as it is); the default, `norm=identity`, is another
reading of layer norm, which lxt has for RMS norm alone.

| network | ours | lxt | attribution |
| --- | --- | --- | --- |"""


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The Markdown page."""
    same = [row for row in rows if row["same"]]
    lines = [_INTRODUCTION, "", *_networks(), "", _AGREEMENT, *map(_agreement, same), "", _REMARKS, ""]
    return "\n".join([*lines, _PLAIN, *(_plain(row) for row in rows if not row["same"])]) + "\n"


def _networks() -> Iterator[str]:
    for name, words in TWINS.items():
        yield f"- `{name}`: {words}."
    yield "- `torchvision-...`: torchvision's `VisionTransformer`, seeded: of 3 small blocks, and as `vit_b_16`."


def _agreement(row: dict[str, Any]) -> str:
    call = MENDED.get(row["lxt"], f"`lxt.{'explicit' if ':' in row['lxt'] else row['lxt']}`")
    furthest = f"{row['furthest']:.1e}" if row["layers"] else ""
    cells = (f"`{row['network']}`", f"`{row['method']}`", call, row["dtype"], row["layers"] or "", furthest)
    return f"| {' | '.join(map(str, cells))} | {row['attribution']:.1e} | {row['verdict']} |"


def _plain(row: dict[str, Any]) -> str:
    return f"| `{row['network']}` | `{row['method']}` | `{row['lxt']}` | {row['attribution']:.1e} |"
