"""`python -m evidence.functions`: right functions under diagnosis; reports/functions.md."""

from __future__ import annotations

import sys

from evidence.functions.command import main

if __name__ == "__main__":
    sys.exit(main())
