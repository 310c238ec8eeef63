"""What all sections of the settings have in common."""

import os
from collections.abc import Sequence
from pathlib import PurePath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _in_one_spelling(path: str) -> str:
    """Make `./x.h5` and `x.h5` one; `..` stays, for the folder before it may be a link."""
    at_home = os.path.expanduser(path)  # noqa: PTH111 - pathlib raises for users that are unknown
    return str(PurePath(at_home)) if path else path


FilePath = Annotated[str, AfterValidator(_in_one_spelling)]


class Section(BaseModel):
    """A section: unknown keys and other types are errors, values do not change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def setting(
    default: Any, description: str, *, stages: Sequence[str] = ("train",), **constraints: Any
) -> Any:
    """Declare a key: its default, what it means, and the stages whose results depend on it.

    `stages=()` is for keys that change how a stage runs but not what it gives.
    """
    return Field(
        default,
        description=description,
        json_schema_extra={"stages": list(stages)},
        **constraints,
    )
