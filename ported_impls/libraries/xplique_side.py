"""xplique 2.0.2 on the Keras twin, in float32 alone. Runs in its interpreter only.

Of what it imports, `cv2` and `tensorflow_probability` serve methods that are not asked for. Its maps are asked for with
``reducer=None``: by default it takes the mean, or the maximum, of the channels.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np

from harness.methods import GradCam, IntegratedGradients, Method, Smoothed, cam_layer, gaussian_noise
from ported_impls.libraries.adapter import Call, LibraryBackend, empty_module, says


def _attributions() -> Any:
    empty_module("cv2")
    empty_module("tensorflow_probability")
    from xplique import attributions

    return attributions


def _one_hot(twin: Any, target: Any) -> Any:
    return np.eye(twin.output_shape[-1], dtype=np.float32)[np.asarray(target)]


def _plain(name: str) -> Any:
    def call(twin: Any, x: Any, target: Any, method: Method) -> Any:
        explainer = getattr(_attributions(), name)(twin, reducer=None)
        return explainer(x, _one_hot(twin, target))

    return call


def _integrated_gradients(twin: Any, x: Any, target: Any, method: Method) -> Any:
    assert isinstance(method.procedure, IntegratedGradients)
    explainer = _attributions().IntegratedGradients(
        twin, reducer=None, steps=method.procedure.steps, baseline_value=method.procedure.baseline
    )
    return explainer(x, _one_hot(twin, target))


def _statistic(name: str) -> Any:
    """A statistic of noisy gradients; the noise is the method's, added as `_perturb_samples` would add its own."""

    def call(twin: Any, x: Any, target: Any, method: Method) -> Any:
        procedure = method.procedure
        assert isinstance(procedure, Smoothed)
        attributions = _attributions()
        from xplique.attributions.gradient_statistics.gradient_statistic import GradientStatistic

        noise = np.stack([*gaussian_noise(procedure, tuple(x.shape))], axis=1)
        noisy = (np.asarray(x)[:, None] + noise).astype(np.float32)
        rows = []
        for place in range(len(x)):
            perturbed = mock.Mock(return_value=noisy[place])
            with mock.patch.object(GradientStatistic, "_perturb_samples", perturbed):
                explainer = getattr(attributions, name)(
                    twin,
                    reducer=None,
                    batch_size=procedure.samples,
                    nb_samples=procedure.samples,
                    noise=procedure.scale,
                )
                one = slice(place, place + 1)
                rows.append(np.asarray(explainer(x[one], _one_hot(twin, target[one]))))
        return np.concatenate(rows)

    return call


def _grad_cam(twin: Any, x: Any, target: Any, method: Method) -> Any:
    assert isinstance(method.procedure, GradCam)
    layer = cam_layer(twin.graph, method.procedure.layer).name if hasattr(twin, "graph") else None
    explainer = _attributions().GradCAM(twin, conv_layer=layer)
    maps = np.asarray(explainer(x, _one_hot(twin, target)))
    return np.broadcast_to(maps.reshape((*x.shape[:-1], 1)), tuple(x.shape))


_CALL = "{}(model, reducer=None)(x, one_hot)"
CALLS = {
    "gradient:postprocess=abs": Call(_CALL.format("Saliency"), _plain("Saliency")),
    "input_t_gradient": Call(_CALL.format("GradientInput"), _plain("GradientInput")),
    "guided_backprop:dialect=zennit": Call(_CALL.format("GuidedBackprop"), _plain("GuidedBackprop")),
    "deconvnet:dialect=zennit": Call(_CALL.format("DeconvNet"), _plain("DeconvNet")),
    "integrated_gradients": Call(
        "IntegratedGradients(model, reducer=None, steps=64)(x, one_hot)", _integrated_gradients
    ),
    "smoothgrad": Call(
        "SmoothGrad(model, reducer=None, nb_samples=64, noise=1)(x, one_hot)", _statistic("SmoothGrad")
    ),
    "smoothgrad:postprocess=square": Call(
        "SquareGrad(model, reducer=None, nb_samples=64, noise=1)(x, one_hot)", _statistic("SquareGrad")
    ),
    "vargrad": Call(
        "VarGrad(model, reducer=None, nb_samples=50, noise=0.2)(x, one_hot)", _statistic("VarGrad")
    ),
    "grad_cam": Call("GradCAM(model)(x, one_hot)", _grad_cam),
}
SAYS = says(CALLS)
backend = LibraryBackend("xplique", ("xplique", "tensorflow", "keras"), "tensorflow", CALLS, ("float32",))
