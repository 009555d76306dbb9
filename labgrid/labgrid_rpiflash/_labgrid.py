"""labgrid's decorators, with the types that it does not give them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

from labgrid.driver import Driver
from labgrid.step import step as untyped_step

Function = TypeVar("Function", bound=Callable[..., Any])


class _StepDecorator(Protocol):
    def __call__(
        self, *, title: str | None = None, args: list[str] = ..., result: bool = False
    ) -> Callable[[Function], Function]: ...


step = cast(_StepDecorator, untyped_step)


def check_active(function: Function) -> Function:
    """Only where the driver is active."""
    return cast(Function, Driver.check_active(function))
