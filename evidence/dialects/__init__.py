"""What the libraries read differently, as data, and the script that measures it and writes `docs/dialects.md`.

    python -m evidence.dialects

`ideas` holds the readings, `measure` runs them, `page` writes. Run from the root of the repository.
"""
