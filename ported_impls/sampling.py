"""Many relevances of samples, back to the maps they were read from: one sparse matrix a head for all of them.

The derivative of grid sampling in torch works out every weight anew for each relevance, and the places' derivative
beside it; a product with the sparse matrix of the bilinear weights takes a fifth of that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.methods import ShareProduct
from ported_impls.mappers import stabilize
from ported_impls.walk import Ran


def share_of_maps(module: torch.nn.Module, ran: Ran, rule: ShareProduct, reached: Tensor) -> Tensor:
    """Relevance of the maps of a grid sampling that has run on one sample, (query, 1, channel, head, height, width).

    ``reached``: (query, 1, channel, head, row, point), that of the samples. The rule is `ShareProduct` to the first
    input: ``x * J^T(R / S(z))``.
    """
    maps, places = (x.detach() for x in ran.inputs)
    heads, height, width = maps.shape[2:]
    quotient = reached / stabilize(rule.stabilizer, ran.output.detach())
    rows = quotient[:, 0].movedim(1, -1).flatten(2, 3)  # (query, head, sample, channel)
    spread = rows.new_empty(len(rows), heads, height * width, rows.shape[-1])
    for head in range(heads):
        weights = bilinear_weights(places[0, :, head].flatten(1), height, width, module.padding)
        for query in range(len(rows)):
            spread[query, head] = torch.sparse.mm(weights, rows[query, head])
    return spread.unflatten(2, (height, width)).movedim(-1, 1).unsqueeze(1).mul_(maps)


def bilinear_weights(places: Tensor, height: int, width: int, padding: str) -> Tensor:
    """What each pixel of a map adds to each sample, (height * width, sample), sparse; pixels row by row.

    ``places``: (x and y, sample) from -1 to 1, the outer edges of the border's pixels
    (`torch.nn.functional.grid_sample` with ``align_corners=False``). ``padding``: "zeros", or "border", where places
    outside are moved to the nearest pixel.
    """
    sides = places.new_tensor([[width], [height]])
    at = ((places + 1) * sides - 1) / 2
    if padding == "border":
        at = at.clamp(min=0).minimum(sides - 1)
    first = at.floor()
    samples = torch.arange(places.shape[1], device=places.device)
    pixels, read, weights = [], [], []
    for step in torch.cartesian_prod(torch.arange(2), torch.arange(2)).to(first):
        corner = first + step[:, None]
        weight = (1 - (at - corner).abs()).prod(dim=0)
        inside = ((corner >= 0) & (corner < sides)).all(dim=0)
        x, y = corner[:, inside].long()
        pixels.append(y * width + x)
        read.append(samples[inside])
        weights.append(weight[inside])
    where = torch.stack([torch.cat(pixels), torch.cat(read)])
    shape = (height * width, places.shape[1])
    return torch.sparse_coo_tensor(where, torch.cat(weights), shape, check_invariants=False)
