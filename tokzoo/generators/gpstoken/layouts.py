"""Where the Gaussians of a picture begin: drawn by a flow, or from those of photos. B batch, N Gaussians."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tokzoo._files import replace_atomically
from tokzoo.generators.gpstoken.flow import Way, velocity_error
from tokzoo.generators.gpstoken.halving import halve
from tokzoo.generators.gpstoken.network import TokenVelocity
from tokzoo.layers.gaussians import REACH, region_gaussians

POINT = 4  # numbers of a region: logarithms of its Gaussian's scales, and its centre


class LayoutFlow(nn.Module):
    """p(initial Gaussians | class, how many): a flow over regions in no order.

    GPSToken, arXiv:2509.01109, draws layouts by "lightweight networks" which it does not describe; this one is ours,
    the network of its textures without layouts to read. What the flow draws is rough; `halve` makes regions of it that
    fill the picture as those of a partition do.

    Args:
        image_size: pixels of a side.
        num_classes: that of no class included.
        width, depth, num_heads: of the transformer.
        means, deviations: of the 4 numbers of a region, by which they are standardised.

    Shapes:
        layouts (B, N, 5) float32: sx, sy, rho = 0, x, y, see `tokzoo.layers.gaussians`
    """

    def __init__(
        self,
        *,
        image_size: int,
        num_classes: int,
        width: int,
        depth: int,
        num_heads: int,
        means: tuple[float, ...],
        deviations: tuple[float, ...],
    ):
        super().__init__()
        if not len(means) == len(deviations) == POINT:
            raise ValueError(f"layout_means and layout_deviations must be {POINT} numbers; got {means}, {deviations}")
        self.image_size, self.means, self.deviations = image_size, means, deviations
        self.velocity = TokenVelocity(
            channels=POINT + 1, num_classes=num_classes, width=width, depth=depth, num_heads=num_heads
        )

    def sample(
        self,
        noise: Tensor,
        classes: Tensor,
        null: Callable[[Tensor], Tensor],
        way: Way,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Noise (B, N, 4) and classes (B,) -> layouts (B, N, 5)."""
        return self.to_layouts(way.follow(self._velocity, noise, classes, null, generator))

    def loss(self, layouts: Tensor, classes: Tensor, generator: torch.Generator | None) -> Tensor:
        """Square error of the velocity at a random moment."""
        return velocity_error(self._velocity, self.to_points(layouts), classes, generator)

    def _velocity(self, place: Tensor, times: Tensor, classes: Tensor) -> Tensor:
        """Of points (B, N, 4), which are told how many they are: attention sees shares, not numbers."""
        number = place.new_full((*place.shape[:2], 1), math.log2(place.shape[1]))
        return self.velocity(torch.cat([place, number], dim=-1), times, classes)[..., :POINT]

    def to_points(self, layouts: Tensor) -> Tensor:
        """Layouts (B, N, 5) -> (B, N, 4) of about unit variance."""
        return (points_of(layouts, self.image_size) - layouts.new_tensor(self.means)) / layouts.new_tensor(
            self.deviations
        )

    def to_layouts(self, points: Tensor) -> Tensor:
        """The way back; of other points, the regions that `halve` makes of them."""
        size = self.image_size
        logarithms, centres = (points * points.new_tensor(self.deviations) + points.new_tensor(self.means)).split(2, -1)
        sides = logarithms.clamp(max=math.log(REACH)).exp() / REACH * size  # from the first pixel to the last
        middles = (centres / 2 + 0.5) * (size - 1)
        return region_gaussians(halve(middles, sides, size), (size, size))


def points_of(layouts: Tensor, image_size: int) -> Tensor:
    """Initial Gaussians (..., 5) -> (..., 4): logarithms of scales, and centres."""
    least = REACH / image_size / 2  # regions of one pixel have none
    return torch.cat([layouts[..., :2].clamp(min=least).log(), layouts[..., 3:]], dim=-1)


@dataclass(frozen=True)
class LayoutBank:
    """Initial Gaussians of photos, by class, to draw from as the authors of GPSToken do. arXiv:2509.01109.

    `tokzoo layouts PHOTOS` writes one as safetensors. The authors' file, `initg.pickle`, can run any code as it is
    opened, so tokzoo does not; who trusts it makes a bank of it:

        held = pickle.load(open("initg.pickle", "rb"))
        of_class = {str(label): np.stack(held[label])[:, :, :5] for label in range(1000)}
        LayoutBank({name: torch.from_numpy(each).float() for name, each in of_class.items()}).save("initg.safetensors")

    Attributes:
        layouts: (count, N, 5) of each class, by its name, in the order of labels.

    Raises:
        ValueError: no class, none of a class, or layouts of other shapes.
    """

    layouts: dict[str, Tensor]

    def __post_init__(self) -> None:
        shapes = {name: tuple(each.shape) for name, each in self.layouts.items()}
        wrong = [name for name, shape in shapes.items() if len(shape) != 3 or not shape[0] or shape[2] != 5]
        if wrong or len({shape[1] for shape in shapes.values()}) != 1:
            raise ValueError(f"a bank holds layouts (count, N, 5) of each class, N the same for all; got {shapes}")

    def draw(self, labels: Tensor, classes: tuple[str, ...], generator: torch.Generator | None) -> Tensor:
        """One for each of the labels (B,), at random: (B, N, 5). `classes` are the labels' names; () takes the bank's.

        Raises:
            ValueError: a class that the bank lacks.
        """
        names, drawn = classes or tuple(self.layouts), []
        for label in labels.tolist():
            name = names[label] if label < len(names) else str(label)
            if name not in self.layouts:
                raise ValueError(f"the bank holds no layouts of class {name!r}; of {', '.join(self.layouts)} it does")
            held = self.layouts[name]
            row = torch.randint(len(held), (), generator=generator, device=labels.device)
            drawn.append(held[int(row)])
        return torch.stack(drawn).to(labels.device)

    def save(self, path: Path) -> Path:
        """Writes a safetensors file."""
        state = {str(number): each.contiguous() for number, each in enumerate(self.layouts.values())}
        with replace_atomically(path) as temporary:
            save_file(state, temporary, metadata={"classes": json.dumps(list(self.layouts))})
        return path

    @classmethod
    def read(cls, path: str | Path) -> "LayoutBank":
        """Of a file that `save` wrote.

        Raises:
            FileNotFoundError: no such file. ValueError: another file.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path} is no file; tokzoo layouts PHOTOS --out {path} writes one")
        try:
            with safe_open(path, framework="pt") as opened:
                names = json.loads((opened.metadata() or {})["classes"])
                return cls({name: opened.get_tensor(str(number)) for number, name in enumerate(names)})
        except Exception as error:  # foreign bytes can end safetensors in any of its errors
            raise ValueError(f"{path} is no bank of layouts, as tokzoo layouts writes them: {error}") from error
