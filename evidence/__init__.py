"""What is published about the libraries and about this project: each folder writes one report. No part of the wheel."""
