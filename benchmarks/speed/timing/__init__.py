"""The parts of `speed.py`.

A subject (`subjects`) is a configuration with everything loaded or drawn. `ours` and `theirs` (PyTorch) turn it into
calls by name: train steps and their parts. `clock` times calls of the same name side by side, `report` makes tables.
"""
