"""What the project's own computations take in time and memory; each module is a command. No part of the wheel."""
