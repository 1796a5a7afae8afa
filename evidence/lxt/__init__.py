"""AttnLRP and CP-LRP by lxt 2.1 itself against the reference; writes `reports/lxt.md`.

    python -m evidence.lxt

`cases` says what is asked, `torchvision_side` runs lxt on torchvision's vision transformer, `mended_side` lxt with the
cause of a difference taken away, `page` writes what was measured.
"""
