"""What the config says of transfer methods."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vwtransfer.config.models import Node


@dataclass(frozen=True)
class TransferConfig:
    """How words are mapped from model to model.

    Attributes:
        node: of the method, with its `name`.
        exclude: what the support and the calibration prompts leave out; see
            `datasets.left_out_of`.
        beside: the nodes of further methods, by name, that words of a study are mapped by, too.
    """

    node: Node
    exclude: Literal["description", "strict", "related", "none"]
    beside: Mapping[str, Node]

    @property
    def name(self) -> str:
        """The method's."""
        return str(self.node["name"])

    @property
    def methods(self) -> Mapping[str, Node]:
        """All methods that the words of a study are mapped by."""
        return {self.name: self.node, **self.beside}
