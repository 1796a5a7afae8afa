"""The names people type, and how a name becomes a method and a method its name again.

A name is a catalogue entry, optionally followed by parameters: ``lrp.epsilon:epsilon=0.25``,
``lrp.z:input_layer_rule=bounded,low=0,high=1``; or any name of signxai's grammar,
``lrpsign_epsilon_0_33_std_x``. Where several libraries use one name, ``dialect=signxai`` among the
parameters chooses; left out, the first in the order of :data:`DIALECTS` is meant.
"""

from __future__ import annotations

from dataclasses import replace

from harness.errors import InvalidInputError, UnknownNameError
from harness.methods.definition import Method
from harness.methods.dialects import (
    backtrace,
    captum,
    innvestigate,
    lxt,
    signxai,
    signxai2,
    transformers,
    zennit,
)
from harness.methods.entries import Entry

DIALECTS: dict[str, tuple[Entry, ...]] = {
    "innvestigate": innvestigate.ENTRIES,
    "signxai": signxai.ENTRIES,
    "zennit": zennit.ENTRIES,
    "captum": captum.ENTRIES,
    "signxai2": signxai2.ENTRIES,
    "dlbacktrace": backtrace.ENTRIES,
    "transformers": transformers.ENTRIES,
    "lxt": lxt.ENTRIES,
}


def _catalogue() -> dict[str, Entry]:
    """Entries by the name that leads to them: plain, or with ``:dialect=`` where the plain one is taken."""
    named: dict[str, Entry] = {}
    for dialect, entries in DIALECTS.items():
        for entry in entries:
            named[f"{entry.name}:dialect={dialect}" if entry.name in named else entry.name] = entry
    return named


CATALOGUE: dict[str, Entry] = _catalogue()

#: What the default suites run: one name for each rule and form of input layer, in the reading of iNNvestigate.
SUITE_METHODS: tuple[str, ...] = (
    "gradient",
    "input_t_gradient",
    "lrp.z",
    "lrp.epsilon",
    "lrp.alpha_1_beta_0",
    "lrp.alpha_1_beta_0_IB",
    "lrp.alpha_2_beta_1",
    "lrp.alpha_2_beta_1_IB",
    "lrp.z_plus",
    "lrp.w_square",
    "lrp.flat",
    "lrp.epsilon:epsilon=0.25",
    "lrp.epsilon:input_layer_rule=bounded",
    "lrp.epsilon:input_layer_rule=flat",
    "lrp.epsilon:input_layer_rule=w_square",
    "lrp.alpha_1_beta_0:input_layer_rule=bounded",
    "lrp.alpha_1_beta_0:input_layer_rule=flat",
    "lrp.alpha_1_beta_0:input_layer_rule=w_square",
)

#: Names that need parameters, or other values than their own, with values for them.
_WITH_REQUIRED = {
    "lrp": ("lrp:rule=Epsilon", "lrp:rule=Z,bn_layer_rule=none,input_layer_rule=WSquare"),
    "lrp.alpha_beta": ("lrp.alpha_beta:alpha=3,beta=2", "lrp.alpha_beta:beta=1,bias=false"),
    "deep_taylor.bounded": ("deep_taylor.bounded:low=-1,high=1",),
    "epsilon_plus_box": ("epsilon_plus_box:low=-1,high=1",),
    "epsilon_alpha2_beta1_box": ("epsilon_alpha2_beta1_box:low=-1,high=1",),
    "epsilon_gamma_box": ("epsilon_gamma_box:low=-1,high=1",),
    # Of 50 points on ecg-cnn1d one has a unit that float32 puts on either side of a ReLU.
    "integrated_gradients:dialect=captum": ("integrated_gradients:dialect=captum,n_steps=20",),
}
#: Parameters that change more than a number.
_VARIANTS = (
    "gradient:postprocess=abs",
    "gradient:postprocess=square",
    "lrp.epsilon:bias=false",
    "lrp.z:bias=false",
    "deep_taylor:activation_layers=pass",
    "lrp.z:neuron_selection_mode=max_activation",
    "lrp_alpha_1_beta_0:neuron_selection=max_activation",
    "lrpsign_alpha_2_beta_1:neuron_selection=max_activation",
    "integrated_gradients:dialect=signxai,neuron_selection=max_activation,steps=6",
    "lrp:rule=AlphaBetaX1010",
    "lrp.z:low=0,high=1",
    "lrp.z:bn_layer_fuse_mode=two_linear",
    "lrp.z:activation_layers=gradient",
    "lrp.epsilon:until_layer_idx=2",
    "lrp.sequential_preset_a:bn_layer_rule=none",
    "lrp.sequential_preset_a:bn_layer_rule=Z,bn_layer_fuse_mode=two_linear",
    "lrp.sequential_preset_b_flat_until_idx:until_layer_idx=3",
    "lrp_epsilon_0_33",
    "zblrp_epsilon_1:low=0,high=1",
    "lrp.gamma:signed=false",
    "excitation_backprop:bias=false",
    "epsilon_stdx_sign:mu=-1.5,signstdfactor=0.5",
    "deep_lift:baselines=0.5,multiply_by_inputs=false",
    "deep_lift_shap:baselines=-0.5/1",
    "lrp:dialect=captum,rule=Gamma",
    "lrp:dialect=captum,rule=Gamma,set_bias_to_zero=true,gamma=0.5",
    "lrp:dialect=captum,rule=Alpha1_Beta0",
    "lrp:dialect=captum,rule=Epsilon,epsilon=0.25,batch_norm=Identity,additions=function",
    "integrated_gradients:dialect=captum,method=riemann_trapezoid,n_steps=7,baselines=0.25",
    "integrated_gradients:dialect=captum,method=riemann_middle,weights=exact,multiply_by_inputs=false,n_steps=6",
)

#: Every name of the catalogue that the default backends have, those that need parameters with some, and the parameters
#: that change the form. The family of DLBacktrace has backends of its own.
ALL_METHODS: tuple[str, ...] = (
    *(
        name
        for entry, of in CATALOGUE.items()
        if of.family != backtrace.FAMILY
        for name in _WITH_REQUIRED.get(entry, (entry,))
    ),
    *(name for name in SUITE_METHODS if name not in CATALOGUE),
    *_VARIANTS,
)


def method(name: str | Method) -> Method:
    """The method of a name; a method object is returned as it is.

    Raises UnknownNameError for a name or parameter that does not exist (with the nearest match),
    InvalidInputError for a parameter out of range.
    """
    if isinstance(name, Method):
        return name
    base, colon, tail = name.partition(":")
    if colon and not tail:
        raise InvalidInputError(f"{name}: parameters are missing after the colon")
    parameters = _parameters(name, tail)
    dialect = parameters.pop("dialect", None)
    selection = _selection(base, parameters)
    if dialect is not None and dialect not in DIALECTS:
        raise UnknownNameError(f"dialect of {base}", dialect, DIALECTS)
    entry = _entry(base, dialect)
    if entry is None or entry.dialect == signxai.DIALECT:
        parsed = signxai.parse(base, parameters)
        if parsed is None:
            raise UnknownNameError("method", base, CATALOGUE, "See: xai-harness methods")
        if dialect not in (None, "signxai"):
            raise UnknownNameError(f"dialect of {base}", str(dialect), ("signxai",))
        chosen = parsed if selection is None else signxai.selecting(parsed, selection)
        return replace(chosen, name=name) if tail else parsed
    for key in parameters:
        if key not in entry.parameters:
            raise UnknownNameError(
                f"parameter of {base}", key, (*entry.parameters, *_SELECTIONS[:1], "dialect")
            )
    built = entry.build(base, parameters)
    if selection is not None:
        if entry.dialect != innvestigate.DIALECT:
            raise InvalidInputError(
                f"{name}: neuron_selection is for methods of signxai and iNNvestigate, not of {entry.dialect}"
            )
        built = innvestigate.selecting(built, selection)
    return replace(built, name=name)


def _selection(base: str, parameters: dict[str, str]) -> str | None:
    """The parameter ``neuron_selection``, in iNNvestigate ``neuron_selection_mode``, taken out; None without."""
    given = {key: parameters.pop(key) for key in _SELECTIONS if key in parameters}
    if len(given) > 1:
        raise InvalidInputError(f"{base}: {' and '.join(given)} are one parameter; give one of them")
    for key, value in given.items():
        if value not in ("index", "max_activation", "all"):
            raise UnknownNameError(f"value of {key} of {base}", value, ("index", "max_activation", "all"))
        return value
    return None


_SELECTIONS = ("neuron_selection", "neuron_selection_mode")


def _entry(base: str, dialect: str | None) -> Entry | None:
    """The entry of a name in a dialect (None: in the first that has it); None where there is none.

    Raises UnknownNameError where the name exists, but not in that dialect.
    """
    having = {key: entry for key, entries in DIALECTS.items() for entry in entries if entry.name == base}
    if not having:
        return None
    if dialect is None:
        return next(iter(having.values()))
    if dialect not in having:
        raise UnknownNameError(f"dialect of {base}", dialect, having)
    return having[dialect]


def _parameters(name: str, tail: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for part in tail.split(",") if tail else ():
        key, equals, value = part.partition("=")
        if not equals or not value:
            raise InvalidInputError(f"{name}: {part!r} is not of the form parameter=value")
        if key in parameters:
            raise InvalidInputError(f"{name}: {key} is given twice")
        parameters[key] = value
    return parameters


def slug(name: str) -> str:
    """``name`` as part of a file name that every file system takes."""
    return name.replace(":", "-").replace("=", "_").replace(",", "-").replace("/", "+")
