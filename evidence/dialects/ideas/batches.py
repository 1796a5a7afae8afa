"""Where samples of one batch influence each other, and what Grad-CAM does to its map."""

from __future__ import annotations

from evidence.dialects.computed import FEW, STD, all_noise_at_once, bilinear, std_of_the_batch
from evidence.dialects.idea import Bug, Idea, Reading, Source, signxai

_SIGNXAI_WRAPPER = "signxai/methods/innvestigate/analyzer/wrapper.py"
_SMOOTH = f"smoothgrad:dialect=signxai,augment_by_n={FEW},noise_scale=0.2"
_TWO = ("digits-cnn, two samples",)
_ONE_SAMPLE = "a batch of one cannot show it"


_DEVIATION = Idea(
    "std-over-batch",
    "Epsilon times the deviation of the layer input",
    "signxai's `..._std_x` rules take the deviation of everything the layer reads, the other samples of "
    "the batch included: an explanation then depends on what is explained beside it. signxai itself "
    "explains one sample at a time unless `batchmode` is asked for, and the dialect takes the deviation of "
    "each sample, which is the same there. Measured with two samples in a batch.",
    (
        Reading(
            "of each sample",
            "`epsilon = 0.25 std(x)` over the sample's values",
            (
                signxai(
                    "calculate_explanation_innvestigate",
                    "signxai/utils/utils.py",
                    22,
                    26,
                    "analyzer.analyze(X=[x], neuron_selection=neuron_selection, **kwargs)",
                ),
            ),
            STD,
        ),
        Reading(
            "of the batch",
            "`epsilon = 0.25 std(x)` over the values of all samples",
            (signxai("StdxEpsilonRule", "rules", 222, 226, "eps = np.std(ins) * self._stdfactor"),),
            std_of_the_batch,
        ),
    ),
    settings=_TWO,
    unmeasured={"vgg16-mri": _ONE_SAMPLE, "fer-xception": _ONE_SAMPLE},
)


_BATCHMODE = Idea(
    "batchmode",
    "SmoothGrad and VarGrad in batch mode",
    "For its samples signxai repeats a reference to the input, not the input, and adds noise in place. "
    "Without `batchmode` the input is wrapped in a list, for which adding makes a new array, and nothing "
    "happens. With it, all samples are one array that has every noise in it, and so is the caller's input: "
    "SmoothGrad is the gradient at one noisy point, with `sqrt(n)` times the deviation, and VarGrad, the "
    "variance of equal maps, is zero but for rounding, as a run of the real library confirms. The dialect is "
    f"the library without `batchmode`. Measured with {FEW} samples of noise, on two images in a batch.",
    (
        Reading(
            "a noise for each sample",
            "mean over k of `g(x + n_k)`",
            (signxai("GaussianSmoother._augment", _SIGNXAI_WRAPPER, 264, 276, "X[i] += noise"),),
            _SMOOTH,
        ),
        Reading(
            "all noise in one array",
            "`g(x + sum over k of n_k)`",
            (
                signxai(
                    "AugmentReduceBase._augment",
                    _SIGNXAI_WRAPPER,
                    156,
                    162,
                    "repeat = [X for _ in range(self._augment_by_n)]",
                ),
                signxai("GaussianSmoother._augment", _SIGNXAI_WRAPPER, 264, 276, "X[i] += noise"),
            ),
            all_noise_at_once,
        ),
    ),
    bugs=(
        Bug(
            "With `batchmode`, SmoothGrad and VarGrad put the noise of all samples into one array, which "
            "is the caller's input: VarGrad is zero, and the input is changed.",
            (
                signxai(
                    "VariationalAugmentReduceBase._augment",
                    _SIGNXAI_WRAPPER,
                    221,
                    227,
                    "repeat = [X for _ in range(self._augment_by_n)]",
                ),
                signxai("VariationalSmoother._augment", _SIGNXAI_WRAPPER, 295, 307, "X[i] += noise"),
            ),
            reproduced=False,
        ),
    ),
    settings=_TWO,
    unmeasured={
        "vgg16-mri": "a bug of the batch mode alone",
        "fer-xception": "a bug of the batch mode alone",
    },
)


_GRAD_CAM = Idea(
    "grad-cam-resize",
    "Grad-CAM: how the map is resized",
    "Grad-CAM's map has the size of a convolution and is enlarged to that of the input. signxai turns it "
    "into an 8-bit picture first: 256 grey levels, and a bicubic filter cut off at both ends. The paper "
    "resizes the numbers, bilinearly. Both are shown on the scale 0..255, at the last convolution.",
    (
        Reading(
            "bicubic, 8 bits",
            "moved and scaled to 0..255, cut to whole numbers, bicubic on 8-bit values",
            (
                signxai(
                    "calculate_grad_cam_relevancemap",
                    "signxai/methods/grad_cam.py",
                    100,
                    109,
                    "ha = ha.resize((x.shape[1], x.shape[2]))",
                ),
            ),
            "grad_cam",
        ),
        Reading(
            "bilinear, floating point",
            "`255 max(h, 0) / max(h)`, bilinear",
            (Source("Selvaraju et al.", "2017", "Grad-CAM"),),
            bilinear,
        ),
    ),
    bugs=(
        Bug(
            "The map of an image that is not square is resized to width by height in the wrong order, and "
            "cannot be shown. (Here Grad-CAM is for square images only.)",
            (
                signxai(
                    "calculate_grad_cam_relevancemap",
                    "signxai/methods/grad_cam.py",
                    105,
                    107,
                    "ha.resize((x.shape[1], x.shape[2]))",
                ),
            ),
            reproduced=False,
        ),
    ),
)

IDEAS: tuple[Idea, ...] = (_GRAD_CAM, _DEVIATION, _BATCHMODE)
