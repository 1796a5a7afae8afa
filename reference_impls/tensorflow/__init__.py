"""The trusted reference: iNNvestigate 2.1.2's rules on TensorFlow 2 and Keras 3."""

from reference_impls.tensorflow.backend import TensorFlowBackend

__all__ = ["TensorFlowBackend"]
