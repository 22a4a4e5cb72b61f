"""What an operator is shown: the state on disk is read into values (guest.py), and values become text or JSON."""
