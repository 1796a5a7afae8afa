"""tf-keras-vis 0.8.7 on the Keras twin. Runs in its interpreter only.

Its maps are asked for as they are: by default it takes absolute values, the maximum of the channels, and scales the map
to [0, 1].
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np

from harness.methods import Method, Smoothed, gaussian_noise
from ported_impls.libraries.adapter import Call, LibraryBackend, empty_module, says

_AS_IT_IS = {"keepdims": True, "normalize_map": False}


def _saliency(twin: Any, x: Any, target: Any, method: Method) -> Any:
    from tf_keras_vis.saliency import Saliency
    from tf_keras_vis.utils.scores import CategoricalScore

    options: dict[str, Any] = {} if method.postprocess == "abs" else {"gradient_modifier": None}
    return Saliency(twin)(CategoricalScore([int(each) for each in target]), x, **options, **_AS_IT_IS)


def _smoothgrad(twin: Any, x: Any, target: Any, method: Method) -> Any:
    """One sample at a time: the deviation of the noise is relative to the range of the sample."""
    from tf_keras_vis.saliency import Saliency
    from tf_keras_vis.utils.scores import CategoricalScore

    procedure = method.procedure
    assert isinstance(procedure, Smoothed)
    rows = []
    for place in range(len(x)):
        one = slice(place, place + 1)
        extent = float(np.ptp(np.asarray(x[one])))
        noise = np.stack([each[one] for each in gaussian_noise(procedure, tuple(x.shape))])

        def normal(loc: Any, scale: Any, size: Any, noise: np.ndarray = noise) -> Any:
            return (noise / procedure.scale * np.asarray(scale)).astype(np.asarray(x).dtype)

        with mock.patch.object(np.random, "normal", normal):
            rows.append(
                Saliency(twin)(
                    CategoricalScore([int(target[place])]),
                    x[one],
                    smooth_samples=procedure.samples,
                    smooth_noise=procedure.scale / extent,
                    gradient_modifier=None,
                    **_AS_IT_IS,
                )
            )
    return np.concatenate(rows)


def _grad_cam(twin: Any, x: Any, target: Any, method: Method) -> Any:
    from scipy.ndimage import zoom

    empty_module("scipy.ndimage.interpolation", zoom=zoom)  # where SciPy had it until 1.15
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.scores import CategoricalScore

    maps = Gradcam(twin)(CategoricalScore([int(each) for each in target]), x, normalize_cam=False)
    return np.broadcast_to(np.asarray(maps)[..., None], tuple(x.shape))


_CALL = "Saliency(model)(score, x, keepdims=True, normalize_map=False{})"
CALLS = {
    "gradient": Call(_CALL.format(", gradient_modifier=None"), _saliency),
    "gradient:postprocess=abs": Call(_CALL.format(""), _saliency),
    "smoothgrad": Call(
        _CALL.format(", gradient_modifier=None, smooth_samples=64, smooth_noise=1/range"), _smoothgrad
    ),
    "grad_cam": Call("Gradcam(model)(score, x, normalize_cam=False)", _grad_cam),
}
SAYS = says(CALLS)
backend = LibraryBackend("tf-keras-vis", ("tf-keras-vis", "tensorflow", "keras"), "tensorflow", CALLS)
