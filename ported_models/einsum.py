"""Einsum of two operands as one matrix product: which axes go where."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.errors import UnsupportedLayerError


@dataclass(frozen=True)
class Plan:
    """How two operands become ``(shared, left, summed)`` and ``(shared, right, summed)``, each part several axes.

    ``first``, ``second``: for each axis there, that of the operand. ``result``: for each axis of the result, that of
    ``(shared, left, right)``. ``shared``, ``left``, ``right``, ``summed``: the numbers of axes.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    result: tuple[int, ...]
    shared: int
    left: int
    right: int
    summed: int

    def turned(self) -> Plan:
        """The same with the operands in each other's place."""
        places = [*range(self.shared + self.left + self.right)]
        kept, left, right = (
            places[: self.shared],
            places[self.shared : self.shared + self.left],
            places[self.shared + self.left :],
        )
        now = [*kept, *right, *left]
        result = tuple(now.index(place) for place in self.result)
        return replace(
            self, first=self.second, second=self.first, result=result, left=self.right, right=self.left
        )


def plan_of(equation: str, ranks: tuple[int, int]) -> Plan:
    """The plan of an equation such as ``"bqhd,bkhd->bhqk"``. Raises `UnsupportedLayerError` for what is no product.

    ``ranks``: the operands' numbers of axes.
    """
    text = equation.replace(" ", "")
    inputs, arrow, output = text.partition("->")
    names = inputs.split(",")
    if len(names) != 2:
        raise UnsupportedLayerError(f"the equation {equation!r} has {len(names)} operands, expected two")
    a, b = (_letters(name, rank) for name, rank in zip(names, ranks, strict=True))
    if arrow:
        dots = max((name for name in (a, b)), key=lambda name: sum(each.isdigit() for each in name))
        result = output.replace("...", "".join(each for each in dots if each.isdigit()))
    else:
        dots = "".join(each for each in a if each.isdigit())
        result = dots + "".join(
            sorted(each for each in {*a, *b} if (a + b).count(each) == 1 and not each.isdigit())
        )
    shared = [each for each in a if each in b and each in result]
    left = [each for each in a if each not in b]
    right = [each for each in b if each not in a]
    summed = [each for each in a if each in b and each not in result]
    repeated = any(len(set(name)) != len(name) for name in (a, b, result))
    if repeated or not summed or sorted(result) != sorted([*shared, *left, *right]):
        raise UnsupportedLayerError(
            f"the equation {equation!r} is no matrix product, expected letters once in each operand, some in both and "
            "not in the result, all others in the result"
        )
    together = [*shared, *left, *right]
    return Plan(
        tuple(a.index(each) for each in (*shared, *left, *summed)),
        tuple(b.index(each) for each in (*shared, *right, *summed)),
        tuple(together.index(each) for each in result),
        len(shared),
        len(left),
        len(right),
        len(summed),
    )


def _letters(name: str, rank: int) -> str:
    """The operand's letters, digits for the axes that an ellipsis stands for, counted from the right."""
    if "..." in name:
        count = rank - len(name.replace("...", ""))
        name = name.replace("...", "".join(str(place) for place in reversed(range(max(count, 0)))))
    if len(name) != rank:
        raise UnsupportedLayerError(f"the operand {name!r} of the equation has {rank} axes")
    return name
