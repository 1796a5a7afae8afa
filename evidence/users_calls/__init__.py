"""signxai and iNNvestigate called as their users call them: default arguments, no class, activations inside layers."""
