"""The two twins of a graph, one Keras layer and one torch module per layer, and the proof that they agree.

`keras_twin.build(graph, dtype)` needs TensorFlow, `torch_twin.build(graph, dtype)` needs torch; importing
this package needs neither.
"""
