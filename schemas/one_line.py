"""What an error says, as one line: libraries and stores break theirs, or say nothing."""


def one_line(error: Exception | str) -> str:
    return " ".join(str(error).split()) or type(error).__name__
