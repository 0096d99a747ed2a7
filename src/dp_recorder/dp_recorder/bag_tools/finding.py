"""What a check of a bag complains of."""

from dataclasses import dataclass

FAILURE, WARNING = "failure", "warning"


@dataclass(frozen=True)
class BagFinding:
    """One complaint.

    Attributes:
        level: ``failure`` or ``warning``.
        where: Topic or file.
        what: What is wrong, with numbers and what is allowed.
        at_s: When in the episode, seconds after the first message; None for all of it.
    """

    level: str
    where: str
    what: str
    at_s: float | None = None

    def __str__(self) -> str:
        """One line for a person."""
        when = "" if self.at_s is None else f" at {self.at_s:.2f} s"
        return f"{self.level}: {self.where}{when}: {self.what}"


@dataclass
class Spell:
    """Counts how often and when something held, over a stream; constant memory.

    Attributes:
        times: How often it began.
        first_ns: When it first began, ns.
        longest_ns: The longest it lasted without a break.
        longest_at_ns: When that began.
    """

    times: int = 0
    first_ns: int = 0
    longest_ns: int = 0
    longest_at_ns: int = 0
    _since_ns: int | None = None

    def update(self, t_ns: int, holds: bool) -> None:
        """Tell whether it holds at a time, ns."""
        if not holds:
            self._since_ns = None
            return
        if self._since_ns is None:
            self._since_ns = t_ns
            self.times += 1
            if self.times == 1:
                self.first_ns = self.longest_at_ns = t_ns
        if t_ns - self._since_ns > self.longest_ns:
            self.longest_ns, self.longest_at_ns = t_ns - self._since_ns, self._since_ns
