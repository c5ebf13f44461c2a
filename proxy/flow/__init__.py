"""Carries a write through: the door, the foreground of one write, lanes, delivery in the background.

Law: the client's side never waits for the secondary; the foreground and the background each are one
function that fits on a screen.
"""
