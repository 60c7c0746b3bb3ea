"""What every pipeline is: one clinical question, one method."""

from typing import Protocol

from inference.findings import ModelIdentity, Result
from inference.input.stack import SliceStack


class Pipeline(Protocol):
    """Answers one question about one stack."""

    @property
    def model(self) -> ModelIdentity:
        """Which weights answer."""
        ...

    def run(self, stack: SliceStack) -> Result:
        """The answer; NotAnalysable, with a sentence a radiologist understands, where there cannot be one."""
        ...
