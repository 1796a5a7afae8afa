"""The versions of dl-backtrace against each other and against ours, kind by kind: `reports/dlbacktrace.md`."""
