"""A clock that tests move, for code that gets its clock as an argument."""

from datetime import datetime, timedelta


class MovedClock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)
