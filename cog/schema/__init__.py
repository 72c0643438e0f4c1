"""A signature as data, and what is made from that alone: document, validator, JSON of values. Needs no user code."""
