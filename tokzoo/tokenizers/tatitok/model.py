"""TA-TiTok, arXiv:2501.07730: a TiTok that is told in words what it decodes."""

from tokzoo.conditions.contract import Condition
from tokzoo.decoders.mask_token import TextMaskTokenDecoder
from tokzoo.tokenizers.tatitok.config import TatitokConfig
from tokzoo.tokenizers.titok.config import TitokConfig
from tokzoo.tokenizers.titok.model import Titok, build_head, decoder_sizes


class Tatitok(Titok):
    """TiTok whose decoder reads CLIP text features beside the tokens: `decode(tokens, text=features)`.

    `tokzoo.conditions.ClipText()(captions)` makes them. It knows no null text: where there is no caption, the published
    models are given the features of an empty one.
    """

    config: TatitokConfig

    @property
    def conditions(self) -> dict[str, Condition]:
        shape = (self.config.text_length, self.config.text_dim)
        what = "CLIP features of a caption, which tokzoo.conditions.ClipText()(captions) makes"
        return {"text": Condition(shape=shape, what=what, helper="tokzoo.conditions:ClipText")}

    def _build_decoder(self, config: TitokConfig) -> TextMaskTokenDecoder:
        assert isinstance(config, TatitokConfig)
        return TextMaskTokenDecoder(
            **decoder_sizes(config),
            text_length=config.text_length,
            text_dim=config.text_dim,
            head=build_head(config),
        )
