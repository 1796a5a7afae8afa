"""Networks and files that nobody here wrote: what loads, what is refused and why."""
