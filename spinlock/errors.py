"""The one exception for mistakes that a user can put right."""


class SpinlockError(Exception):
    """A problem stated for the user: what is wrong, where, and what to do.

    Parameters
    ----------
    problem : str
        What is wrong, in one sentence.
    where : object, optional
        The file, key or dataset that is concerned.
    remedy : str, optional
        What the user can do about it.
    """

    def __init__(self, problem: str, *, where: object | None = None, remedy: str | None = None):
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        lines = [self.problem]
        if self.where is not None:
            lines.append(f"  where: {self.where}")
        if self.remedy is not None:
            lines.append(f"  what to do: {self.remedy}")
        return "\n".join(lines)
