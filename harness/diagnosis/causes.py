"""The names of causes, and what each means. They are stable: programs and reports rely on them."""

from __future__ import annotations

#: By name, the difference in one sentence.
CAUSES: dict[str, str] = {
    "output-seed": "the backward pass starts from another value at the target (one, the logit, a probability)",
    "target": "another class is explained",
    "scale": "the result is the reference's times one factor that nothing else explains",
    "epsilon-value": "the stabilizer has the right form and another epsilon",
    "stabilizer-form": "the denominator is stabilised in another way, or not at all",
    "std-ddof": "the standard deviation in the stabilizer divides by n - 1 instead of n",
    "bias-handling": "the bias is left out, counted once too often, or shared out where the rule does not",
    "alpha-beta": "other alpha and beta, or the two exchanged",
    "rule-mapping": "the layer has another rule than the one that the method assigns",
    "input-layer-rule": "the layer that reads the input has another rule than the one that the method assigns",
    "sign-threshold": "the SIGN rule has another threshold, or counts a value at the threshold differently",
    "negative-clipped": "negative values are set to zero where the rule keeps them",
    "absolute-contributions": "absolute values where the rule keeps the sign",
    "preactivation": "the layer's output after its activation stands where the one before it should",
    "flat-input": "the real input stands where the flat or w-square rule has ones",
    "pooling": "the pooling layer shares out in another way",
    "batchnorm": "batch norm is read in another way",
    "head-normalisation": "the division by the number of heads, or groups, is missing",
    "layout": "axes or channels are in another order",
    "flatten-order": "values are flattened in another order of the axes",
    "forward-padding": "the forward pass pads differently",
    "forward-epsilon": "a normalisation of the forward pass has another epsilon",
    "forward-weights": "the forward pass has other weights, or weights in another order",
    "forward-activation": "the forward pass has another activation function",
    "preprocessing": "the network is given the input in another order of channels or on another scale",
    "softmax-kept": "the network still ends in a softmax",
    "residual-split": "relevance is shared among branches in another way",
    "batch-coupling": "the result of one sample depends on the others in its batch",
    "nondeterminism": "the candidate differs from itself when it is run again",
    "precision": "one side computes in a format of fewer digits",
    "nan": "the candidate has NaN or infinity where the reference has none",
    "unknown": "none of the causes above reproduces what the candidate does",
}
