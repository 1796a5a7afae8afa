import numpy as np
from methods import METHODS, explain
from network import load

import harness

x = np.load("image.npy")  # (1, 12, 12, 1): batch first, channels last
pair = harness.load_pair("network.keras", load(), example=x)
port = harness.backend_from_function("port", explain, framework="torch", layers="gradient")


@harness.parametrize_with_methods(pair, METHODS, candidate=port, x=x)
def test_port(conformance):
    conformance.check()
