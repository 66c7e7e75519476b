"""What every damaged, foreign or unfit token file is refused with."""


class TokenFileError(ValueError):
    """A .tkz file that cannot be read, or tokens that do not belong in it; the message says which and what to do."""
