"""A figure beside its bar."""


class Judged:
    """With a `baseline` the bar is for their ratio."""

    __slots__ = ()

    value: float
    baseline: float | None
    bar: float | None

    @property
    def ratio(self) -> float | None:
        return self.value / self.baseline if self.baseline else None

    @property
    def is_met(self) -> bool | None:
        """None when there is no bar, or nothing to hold against it."""
        judged = self.value if self.baseline is None else self.ratio
        return None if self.bar is None or judged is None else judged <= self.bar
