"""Text towers in transformers' classes, loaded without what sees images."""

from torch import nn
from transformers import Owlv2Config, SiglipTextModel
from transformers.models.owlv2.modeling_owlv2 import Owlv2PreTrainedModel, Owlv2TextTransformer

UNREAD = (".*",)  # of a checkpoint, without a report: all that is not the tower's


class Owlv2TextTower(Owlv2PreTrainedModel):
    """The parts of an Owlv2Model that read text, under its names for them.

    Args:
        config: of the whole model.
    """

    _keys_to_ignore_on_load_unexpected = UNREAD

    def __init__(self, config: Owlv2Config) -> None:
        super().__init__(config)
        self.text_model = Owlv2TextTransformer(config.text_config)
        width = config.text_config.hidden_size
        self.text_projection = nn.Linear(width, config.projection_dim, bias=False)
        self.post_init()


class SiglipTextTower(SiglipTextModel):
    """The text tower of a SiglipModel."""

    _keys_to_ignore_on_load_unexpected = UNREAD
