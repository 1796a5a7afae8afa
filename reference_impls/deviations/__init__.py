"""What a layer could do otherwise: in its step back (`backward`) and in its forward pass (`forward`).

Carried out with the oracle's parts in NumPy float64; the search of the diagnosis asks for them by the oracle's backend.
"""
