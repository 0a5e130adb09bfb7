"""What everything rests on: units, digests, errors, events, seeds.

Standard library and pydantic only.
"""
