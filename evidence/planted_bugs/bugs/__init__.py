"""The mutants, a module a subject; what they are made of is in `planting`, where they are put in `sites`."""
