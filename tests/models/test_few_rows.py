"""Linear layers of few rows, spread over the threads of a CPU, give what torch's own give."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from vwtransfer.models import few_rows
from vwtransfer.models.few_rows import on_all_threads


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


class Block(nn.Module):
    """Attention and layers as CLIP has them, most of them large enough to be spread."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(256, 4, batch_first=True)
        self.wide, self.back = nn.Linear(256, 1024), nn.Linear(1024, 256, bias=False)
        self.small = nn.Linear(256, 64)

    def forward(self, x_NLD: Tensor) -> Tensor:
        x_NLD = x_NLD + self.attention(x_NLD, x_NLD, x_NLD, need_weights=False)[0]
        small: Tensor = self.small(self.back(F.gelu(self.wide(x_NLD))))
        return small


def both(shape: tuple[int, ...], *, spread: bool) -> tuple[Tensor, Tensor, list[str]]:
    """The output, the gradient, and the names of the operations of the forward."""
    block = Block().requires_grad_(False)
    torch.manual_seed(1)
    x_NLD = torch.randn(*shape, 256, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        if spread:
            with on_all_threads():
                output = block(x_NLD)
        else:
            output = block(x_NLD)
    output.square().sum().backward()
    assert x_NLD.grad is not None
    return output, x_NLD.grad, [event.name for event in seen.events()]


@pytest.mark.parametrize("shape", [(1, 9), (3, 9), (1, 1), (2, 64), (1, 129)])
def test_output_and_gradient_are_those_of_torch(shape: tuple[int, ...], threads: int) -> None:
    output, gradient, plain = both(shape, spread=False)
    ours, own_gradient, operations = both(shape, spread=True)
    torch.testing.assert_close(ours, output, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(own_gradient, gradient, rtol=1e-4, atol=1e-4)
    spread = operations.count("aten::bmm") - plain.count("aten::bmm")
    # of attention's first, wide and back torch may have done one so itself
    assert (spread > 1) == (threads > 1 and shape[0] * shape[1] <= few_rows.MOST_ROWS)


def test_torch_has_its_own_again_whatever_happens() -> None:
    before = F.linear
    with pytest.raises(RuntimeError), on_all_threads():
        assert F.linear is few_rows.linear
        nn.Linear(5, 4)(torch.zeros(2, 3))
    assert F.linear is before
