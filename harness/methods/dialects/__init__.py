"""The readings of the libraries: what each makes of a name, as composites."""
