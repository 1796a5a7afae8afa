"""Three ports from reports of people who ported methods, rebuilt and diagnosed; writes `docs/case-studies.md`.

    python -m evidence.case_studies

`hooks` and `ports` rebuild the ports from their descriptions, `factors`, `flat` and `heads` measure one study each, the
modules ``*_tables`` write what was measured, `page` puts the page together. Run from the root of the repository.
"""
