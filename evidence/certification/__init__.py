"""The certification of the reference: every name of the real libraries, run by the library and by the reference.

`cases`: the names and the models they are run on (`single_layers`: those of one layer); `recordings`: what a library
computed, kept on disk; `known_differences`: the list of what a library is known to do; `comparison`: the reference
(`reference_runs`) against the recordings, in the measure of `measure`; `results` and their report, `page` (`lists`).

    python -m evidence.certification [--library innvestigate|signxai] [--model NAME]... [--method GLOB]...

Writes `reports/certification.md` and `.csv`; how to read them: `docs/certification.md`.
"""
