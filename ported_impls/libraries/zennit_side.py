"""Stock Zennit, of the version that its interpreter has."""

from __future__ import annotations

from ported_impls.zennit_candidate import zennit_backend

backend = zennit_backend()
