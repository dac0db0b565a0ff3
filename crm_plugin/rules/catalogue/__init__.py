"""The fields a rule can ask for, group by group. To add one: a row here, a line in `evaluate.py`; the property test compares the two."""
