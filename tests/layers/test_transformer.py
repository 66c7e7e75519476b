"""The transformer block computes no token that nobody reads."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from tokzoo.layers.transformer import TransformerBlock


def test_the_last_tokens_alone_are_those_of_the_whole_row_for_less_work() -> None:
    torch.manual_seed(0)
    block, hidden = TransformerBlock(32, 4), torch.randn(2, 20, 32)
    mask = torch.rand(20, 20) > 0.3
    with FlopCounterMode(display=False) as whole:
        expected = block(hidden, mask)[:, -5:]
    with FlopCounterMode(display=False) as part:
        last = block(hidden, mask[-5:], last=5)
    torch.testing.assert_close(last, expected)
    assert part.get_total_flops() < 0.5 * whole.get_total_flops()
