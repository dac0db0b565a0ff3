"""Journeys of several steps: the document, who comes in, and each step as statements over all who stand at it."""
