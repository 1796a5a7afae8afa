"""One line that gives a test function a case for each method, as scikit-learn's `parametrize_with_checks` does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.checks import checked_dtype
from harness.methods import ALL_METHODS, Method, slug
from harness.runner.suites import select_methods

if TYPE_CHECKING:
    import pytest

#: The fixture that a parametrized test takes.
FIXTURE = "conformance"
#: The mark of a case that is known to differ.
KNOWN = "known_difference"


@dataclass(frozen=True, eq=False)
class Parameters:
    """What a case is made of; the fields are the arguments of `parametrize_with_methods`."""

    model: Any
    method: str | Method
    dtype: str
    candidate: Any = None
    reference: Any = None
    x: Any = None

    @property
    def id(self) -> str:
        """ "digits-cnn-lrp.epsilon-epsilon_0.25-float64"."""
        return case_id(name_of(self.model), name_of(self.method), self.dtype)


def parametrize_with_methods(
    model: Any,
    methods: str | Method | Iterable[str | Method] = "*",
    candidate: Any = None,
    *,
    reference: Any = None,
    x: Any = None,
    dtypes: Sequence[str] = ("float64",),
    known_differences: Mapping[str, str | Sequence[str]] | None = None,
) -> pytest.MarkDecorator:
    """Give a test function that takes the fixture ``conformance`` one case for each method and dtype.

        @harness.parametrize_with_methods("mine.keras", methods="lrp.*", candidate=my_port, x=images)
        def test_my_port(conformance):
            conformance.check()

    ``model``: what `harness.load_model` returns or, to be loaded by the first test, a name or a file. ``methods``:
    names, globs over the catalogue, or method objects. ``candidate``, ``reference``: names or backends, the family's
    where left out. ``x``: (batch, *input_shape); left out, the model's example. ``known_differences``: by name or
    glob, the cause or causes for which a case is known to differ: see the mark ``known_difference``.

    Raises UnknownNameError or InvalidInputError for a method, glob or dtype that is none.
    """
    import pytest

    wanted = [methods] if isinstance(methods, str | Method) else list(methods)
    chosen: list[str | Method] = []
    for each in wanted:
        chosen += [each] if isinstance(each, Method) else select_methods([each], ALL_METHODS)
    cases = [
        Parameters(model, each, checked_dtype(dtype), candidate, reference, x)
        for each in dict.fromkeys(chosen)
        for dtype in dtypes
    ]
    marks = [
        getattr(pytest.mark, KNOWN)(*([causes] if isinstance(causes, str) else causes), methods=pattern)
        for pattern, causes in (known_differences or {}).items()
    ]
    return pytest.mark.parametrize(
        FIXTURE, [pytest.param(case, id=case.id, marks=marks) for case in cases], indirect=True
    )


def case_id(model: str, method: str, dtype: str) -> str:
    """A readable name that pytest's ``-k`` takes."""
    return f"{model}-{slug(method)}-{dtype}"


def name_of(named: Any) -> str:
    """The name of a model or a method; of a file, that of the file without its suffix."""
    return (
        Path(named).stem if isinstance(named, Path) or _is_file(named) else str(getattr(named, "name", named))
    )


def _is_file(named: Any) -> bool:
    return isinstance(named, str) and Path(named).suffix in (".keras", ".h5", ".onnx")
