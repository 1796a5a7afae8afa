"""DLBacktrace in NumPy, in the dtype of its operands: readable before fast, and no framework.

It is its own oracle: `deviations` says what a layer may do otherwise. Written from what dl-backtrace computes; nothing
of that package is in here.
"""
