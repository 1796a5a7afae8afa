"""Methods of many runs: where on the path, with how much noise, for which target."""

from __future__ import annotations

from evidence.dialects.computed import FEW, right_ends, scaled_by_range, target_of_each_step
from evidence.dialects.idea import Bug, Idea, Reading, innvestigate, signxai, zennit

_WRAPPER = "innvestigate/analyzer/wrapper.py"
_SIGNXAI_WRAPPER = "signxai/methods/innvestigate/analyzer/wrapper.py"
_SIGNXAI_NAMES = "signxai/methods/wrappers.py"
_ATTRIBUTION = "zennit/attribution.py"
_PATH = innvestigate(
    "MultiplyWithLinspace",
    "innvestigate/layers.py",
    306,
    309,
    "kbackend.arange(self._n, dtype=kbackend.floatx()) / self._n",
)
_BOTH = signxai(
    "PathIntegrator._augment", _SIGNXAI_WRAPPER, 346, 358, "step_size = difference / (self._augment_by_n - 1)"
)

_ENDS = Idea(
    "path-ends",
    "Integrated Gradients: which points of the path",
    "The integral along the path becomes a mean over points. iNNvestigate leaves out the input itself, "
    "Zennit leaves out the baseline, signxai takes both. The fewer points, the more it matters, and with "
    f"both ends the two outer points have twice their share. Measured with {FEW} points.",
    (
        Reading(
            "without the input", "`t = k / n`, k = 0..n-1", (_PATH,), f"integrated_gradients:steps={FEW}"
        ),
        Reading(
            "both ends",
            "`t = k / (n - 1)`, k = 0..n-1",
            (_BOTH,),
            f"integrated_gradients:dialect=signxai,steps={FEW}",
        ),
        Reading(
            "without the baseline",
            "`t = k / n`, k = 1..n",
            (
                zennit(
                    "IntegratedGradients",
                    _ATTRIBUTION,
                    453,
                    458,
                    "torch.linspace(1. / self.n_iter, 1., self.n_iter)",
                ),
            ),
            right_ends,
        ),
    ),
    bugs=(
        Bug(
            "For networks with several inputs the path integrator multiplies the step by the number of the "
            "input, not of the step. (No network here has several inputs.)",
            (
                signxai(
                    "PathIntegrator._augment",
                    _SIGNXAI_WRAPPER,
                    359,
                    368,
                    "ret[-1].append(self._reference_inputs + step_size * j)",
                ),
            ),
            reproduced=False,
        ),
    ),
)

_STEPS = Idea(
    "path-defaults",
    "Integrated Gradients as it ships",
    "The same method under the same name, with what each library does when nothing else is given.",
    (
        Reading(
            "64 points without the input",
            "`t = k / 64`, k = 0..63",
            (
                innvestigate(
                    "IntegratedGradients", "innvestigate/analyzer/gradient_based.py", 269, 293, "steps=64,"
                ),
            ),
            "integrated_gradients",
        ),
        Reading(
            "50 points with both ends",
            "`t = k / 49`, k = 0..49",
            (
                signxai(
                    "integrated_gradients",
                    _SIGNXAI_NAMES,
                    101,
                    102,
                    "steps=50, reference_inputs=np.zeros_like(x)",
                ),
            ),
            "integrated_gradients:dialect=signxai",
        ),
    ),
    settings=("fer-xception",),
    unmeasured={
        "vgg16-mri": "64 and 50 runs of several seconds each; the points themselves are measured above"
    },
)

_TARGET = Idea(
    "path-target",
    "Integrated Gradients: whose target along the path",
    "Near the baseline a network may prefer another class. iNNvestigate looks up the class of the input "
    "and explains that one at every point. signxai, asked for no particular neuron, takes the largest "
    "logit at every point anew, so that the mean may run over gradients of several classes. The dialect "
    "here explains the class of the input, which is signxai with `neuron_selection` given. Measured with "
    f"{FEW} points and both ends.",
    (
        Reading(
            "the input's class at every point",
            "`g_k = d y[target] / d x_k`",
            (
                innvestigate(
                    "AugmentReduceBase.analyze",
                    _WRAPPER,
                    153,
                    172,
                    "indices = np.repeat(indices, self._augment_by_n)",
                ),
            ),
            f"integrated_gradients:dialect=signxai,steps={FEW}",
        ),
        Reading(
            "each point's own class",
            "`g_k = d max(y) / d x_k`",
            (
                signxai(
                    "calculate_explanation_innvestigate",
                    "signxai/utils/utils.py",
                    16,
                    24,
                    "neuron_selection = 'max_activation'",
                ),
                signxai(
                    "ReplacementLayer._neuron_select",
                    "signxai/methods/innvestigate/analyzer/reverse_map.py",
                    194,
                    202,
                    "Ys = K.max(Ys, axis=1, keepdims=True)",
                ),
            ),
            target_of_each_step,
        ),
    ),
)


_NOISE = Idea(
    "smoothgrad-noise",
    "SmoothGrad: how much noise",
    "The amount of noise is SmoothGrad's one parameter. iNNvestigate takes `noise_scale` and never uses "
    "it: the noise has standard deviation 1, larger than the whole range of most images. signxai uses it "
    "(0.2 in its names). Zennit takes a share of the input's range and adds no noise to the last sample. "
    f"Asked for 0.2 and {FEW} samples (Zennit: its default 0.1 of the range), from the same generator.",
    (
        Reading(
            "standard deviation 1, whatever is asked",
            "`x + n`, `n ~ N(0, 1)`",
            (
                innvestigate(
                    "GaussianSmoother", _WRAPPER, 220, 230, "add_noise = ilayers.AddGaussianNoise()"
                ),
                innvestigate("AddGaussianNoise", "innvestigate/layers.py", 318, 330, "stddev: float = 1.0"),
            ),
            f"smoothgrad:augment_by_n={FEW},noise_scale=0.2",
        ),
        Reading(
            "standard deviation as asked",
            "`x + n`, `n ~ N(0, 0.2^2)`",
            (
                signxai(
                    "GaussianSmoother",
                    _SIGNXAI_WRAPPER,
                    259,
                    276,
                    "noise = np.random.normal(0, self._noise_scale, np.shape(x))",
                ),
            ),
            f"smoothgrad:dialect=signxai,augment_by_n={FEW},noise_scale=0.2",
        ),
        Reading(
            "a share of the range, the last sample clean",
            "`x + n`, `n ~ N(0, (0.1 (max x - min x))^2)`, and once `x`",
            (zennit("SmoothGrad", _ATTRIBUTION, 356, 367, "if n == self.n_iter - 1:"),),
            scaled_by_range,
        ),
    ),
    bugs=(
        Bug(
            "`noise_scale` is stored and never used.",
            (innvestigate("GaussianSmoother", _WRAPPER, 220, 230, "self._noise_scale = noise_scale"),),
            reproduced=True,
        ),
    ),
)

IDEAS: tuple[Idea, ...] = (_ENDS, _STEPS, _TARGET, _NOISE)
