"""Range checks that configurations share: the line names the field, its value and what it must be."""


def at_least(settings: object, least: float, *names: str) -> None:
    """Raises ValueError where one of these fields is less, or no number; None is no limit and passes."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not value >= least:
            raise ValueError(f"{name} is {value}; it must be {least} or more")


def above_zero(settings: object, *names: str) -> None:
    """Raises ValueError where one of these fields is not."""
    for name in names:
        if not (value := getattr(settings, name)) > 0:
            raise ValueError(f"{name} is {value}; it must be above zero")
