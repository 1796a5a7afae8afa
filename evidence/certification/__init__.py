"""The reference on trial: every name of the real libraries, theirs against ours.

    python -m evidence.certification [--library innvestigate|signxai] [--model NAME]... [--method GLOB]...

Writes `reports/certification.md` and `.csv`; how to read them: `docs/certification.md`.
"""
