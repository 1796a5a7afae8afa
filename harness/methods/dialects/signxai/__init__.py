"""signxai 1.1.9.2: the grammar of its method names (`methods/wrappers.py`) and what they mean.

A name is a base with a suffix, ``gradient_x_sign_mu_0_5``, or an LRP name, a prefix for the input layer
followed by the rule: ``lrpsign_epsilon_0_25_std_x_mu_0_5``. Numbers are written with underscores for the
point and ``neg_`` for the minus sign. Classes and files named in this package are those of that version.
"""

from harness.methods.dialects.signxai.composites import lrp_composite, selecting, unselected
from harness.methods.dialects.signxai.entries import DIALECT, ENTRIES, parse, published_names

__all__ = ["DIALECT", "ENTRIES", "lrp_composite", "parse", "published_names", "selecting", "unselected"]
