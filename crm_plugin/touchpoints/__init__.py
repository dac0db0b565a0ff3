"""Journeys, planning, guards, rendering, dispatch, recovery: from a due day to a message that is told apart from every other."""
