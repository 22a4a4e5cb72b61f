"""The doors: they parse, call, print, and own no behaviour."""
