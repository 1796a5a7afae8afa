"""The libraries that people use as candidates, against the reference; writes `reports/scoreboard.md`.

    python -m evidence.scoreboard

`rows` says what is asked of whom, `measure` carries one row out, `page` writes what was measured.
"""
