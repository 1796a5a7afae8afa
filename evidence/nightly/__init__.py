"""Every night: what agreed yesterday is held against today's code and versions. `python -m evidence.nightly`."""
