"""Three ports of the background documents, rebuilt and diagnosed; writes `docs/case-studies.md`.

    python -m evidence.case_studies

`hooks` and `ports` rebuild the ports from their descriptions, `factors`, `flat` and `heads` measure one study each, the
modules ``*_text`` write what was measured, `page` puts the page together. Run from the root of the repository.
"""
