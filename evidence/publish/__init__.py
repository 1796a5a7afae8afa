"""The folder `reports/` from what is kept in it: pages, pictures and the index. Nothing is measured here."""
