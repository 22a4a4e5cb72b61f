"""What can go wrong with the lab itself, as opposed to what a test finds out with it."""


class LabError(Exception):
    """The lab cannot be had or does not answer; the text says what to do."""
