"""What both sides run on: one neutral graph per network, its Keras and torch twins, and the zoo.

Importing this imports neither TensorFlow nor torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ported_models.loading import load_model
from ported_models.model import PortedModel

# Whichever way a model is loaded, and whichever side imports TensorFlow first, it is the same TensorFlow: its plain
# kernels, as the reference asks for them, and none of its remarks. What the user has set stays.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if TYPE_CHECKING:
    from ported_models.pair import PortedPair

__all__ = ["PortedModel", "list_models", "load_model", "load_pair"]


def list_models() -> list[str]:
    """The names of the zoo's models, as `load_model` takes them."""
    from ported_models import zoo

    return list(zoo.names())


def load_pair(
    keras_model: Any,
    torch_module: Any,
    layer_map: Mapping[str, str] | None = None,
    example: Any = None,
    name: str | None = None,
) -> PortedPair:
    """A Keras and a torch model ported by hand, aligned by weights; see `ported_models.pair.load_pair`."""
    from ported_models.pair import load_pair as load

    return load(keras_model, torch_module, layer_map, example, name)
