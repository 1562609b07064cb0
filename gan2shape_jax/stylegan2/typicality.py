"""How typical a picture is of a GAN's output, judged by the features of its discriminator.

Two questions are put to the features of the discriminator's last three blocks, and the answers are summed, weighted:

- Which side of a hyperplane: one between the GAN's samples and pictures that are unlike them (`unlike`), fitted by
  regularised least squares to the features by place in the picture (4 x 4 places).
- How far from the samples: a Mahalanobis distance of the features' means and standard deviations over the picture. Each
  leading direction of the samples has its own variance, all others share one (Tipping and Bishop, 1999, "Probabilistic
  PCA"), and the two groups count equally.

The sum is expressed in standard deviations of samples held out from both: 0 is as typical as they are on average, and
the values they do not exceed are those to be expected of photographs. See docs/reports/trust.md.

All of it is measured on the samples (`measure`). The pictures that they are compared with are made only from them and
random numbers: nothing here knows of any other category of pictures. Dead leaves (Lee, Mumford and Huang, IJCV 2001)
have edges, sizes and colours like photographs, but show nothing; crops of a sample, its pieces in another order and its
spectrum with other phases have its colours but not its layout.

The statistics are part of the weights of a GAN's detector, see `gan2shape_jax.detection`.
"""

import dataclasses
import functools
import math

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from etils import epy
from jaxtyping import Array, Float

from gan2shape_jax.platforms import in_batches
from gan2shape_jax.stylegan2.architecture import Architecture, Params
from gan2shape_jax.stylegan2.discriminator import discriminator_features

with epy.lazy_imports():  # importing it changes the environment
    import cv2

_LARGEST = 128  # pixels: larger pictures are scaled down for scoring
_PLACES = 4  # along each side
_BLOCKS = 3
DISTANCE = 0.5  # weight of the distance relative to the side
_DIRECTIONS = 64
_RIDGE = 1e-4  # relative to the features' variance
_TOGETHER = 32  # images whose features are computed at once
_LEAST_CUT, _GREATEST_CUT = 0.22, 0.62  # side of a crop, as a fraction of the sample's

_Images = Float[np.ndarray, "n s s 3"]  # in [-1, 1], float32


@flax.struct.dataclass
class Typicality:
    """Statistics of a GAN's samples; F and P are the numbers of features by place and of the whole picture."""

    plane: jax.Array  # (F,) weights of the features by place in the first answer
    middle: jax.Array  # (P,) means of the whole picture's features
    scale: jax.Array  # (P,) their standard deviations
    axes: jax.Array  # (P, K) leading directions of the features standardised with these
    spread: jax.Array  # (K,) standard deviations along these directions
    rest: jax.Array  # () standard deviation in every other direction
    standards: jax.Array  # (6,) mean and standard deviation of each of the two answers and of the sum, over samples


def side_of(arch: Architecture) -> int:
    """Returns the side in pixels at which pictures are scored: the discriminator's own, at most 128."""
    return min(arch.discriminator_size, _LARGEST)


@functools.partial(jax.jit, static_argnames=("arch",))
def atypicality(
    typicality: Typicality, disc_params: Params, images: Float[Array, "b s s 3"], *, arch: Architecture
) -> Float[Array, " b"]:
    """Returns how unlike a GAN's samples square images are, in standard deviations of samples: 0 is the samples' mean.

    Images in [-1, 1] of side `side_of(arch)` are used as they are, others are resized.
    """
    by_place, whole = features(disc_params, resized(images, side_of(arch)), arch)
    side, distance = answers(typicality, by_place, whole)
    standards = typicality.standards
    total = (side - standards[0]) / standards[1] + DISTANCE * (distance - standards[2]) / standards[3]
    return (total - standards[4]) / standards[5]


def resized(images: Float[Array, "b s s 3"], side: int) -> Float[Array, "b t t 3"]:
    """Returns pictures resized to `side` x `side` pixels, in [-1, 1]."""
    if images.shape[1:3] == (side, side):
        return images
    return jnp.clip(jax.image.resize(images, (len(images), side, side, 3), "cubic"), -1, 1)


def features(
    disc_params: Params, images: Float[Array, "b s s 3"], arch: Architecture
) -> tuple[Float[Array, "b f"], Float[Array, "b p"]]:
    """Returns the features by place (b, F), and means and standard deviations over the picture (b, P)."""
    count = max(1, int(math.log2(images.shape[1])) - 2)  # down to 4 x 4 places
    blocks = discriminator_features(disc_params, images, arch=arch, count=count)[-_BLOCKS:]
    by_place = []
    for block in blocks:  # means over equal places, 4 x 4 or fewer if the block is smaller
        b, h, w, c = block.shape
        places = min(_PLACES, h)
        means = block.reshape(b, places, h // places, places, w // places, c).mean((2, 4))
        by_place.append(means.reshape(b, -1))
    whole = [pooled for block in blocks for pooled in (block.mean((1, 2)), block.std((1, 2)))]
    return jnp.concatenate(by_place, axis=-1), jnp.concatenate(whole, axis=-1)


def answers(
    typicality: Typicality, by_place: Float[Array, "b f"], whole: Float[Array, "b p"]
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Returns the side of the plane and the distance from the samples, not yet in standard deviations."""
    side = by_place @ typicality.plane
    moved = (whole - typicality.middle) / typicality.scale
    along = moved @ typicality.axes
    others = jnp.maximum(jnp.sum(moved**2, -1) - jnp.sum(along**2, -1), 0) / typicality.rest**2
    count, leading = moved.shape[-1], along.shape[-1]
    within = jnp.sum((along / typicality.spread) ** 2, -1) / leading
    return side, jnp.sqrt(within + others / max(1, count - leading))


# --- measuring it ----------------------------------------------------------------------------------------


def measure(
    disc_params: Params,
    images: _Images,
    *,
    arch: Architecture,
    seed: int,
    others: Float[np.ndarray, "m t t 3"] | None = None,
) -> Typicality:
    """Returns the typicality of a GAN, measured on its samples; a function of the arguments alone.

    Args:
      disc_params: the discriminator's parameters.
      images: samples of the generator in [-1, 1], framed like the pictures to be scored; a few thousand. A fifth is
        held out to measure `standards`.
      arch: the sizes.
      seed: seed for the perturbations and for the pictures that samples are compared with.
      others: pictures that are not of the kind, such as what a search took for it; they count as much as all that are
        made here.
    """
    rng = np.random.default_rng(seed)
    sized = np.asarray(resized(jnp.asarray(images), side_of(arch)))
    count = len(sized) * 4 // 5
    plain, kept = sized[: count // 2], sized[count:]
    like = np.concatenate([plain, disturbed(rng, sized[count // 2 : count])])
    held_out = np.concatenate([kept[::2], disturbed(rng, kept[1::2])])
    more = () if others is None else (np.asarray(resized(jnp.asarray(others), side_of(arch))),)
    like_rows, judged_rows, *other_rows = (
        in_batches(functools.partial(_features, disc_params, arch=arch), some, size=_TOGETHER)
        for some in (like, held_out, unlike(rng, sized[:count]), *more)
    )
    plane = _plane(like_rows[0], *(rows for rows, _ in other_rows))
    middle, scale = like_rows[1].mean(0), like_rows[1].std(0) + 1e-6
    axes, deviations, rest = _directions((like_rows[1] - middle) / scale)
    none = np.array([0, 1, 0, 1, 0, 1])
    arrays = (jnp.asarray(value, jnp.float32) for value in (plane, middle, scale, axes, deviations, rest, none))
    typicality = Typicality(*arrays)
    side, distance = (np.asarray(values) for values in answers(typicality, *map(jnp.asarray, judged_rows)))
    ours = [side.mean(), side.std(), distance.mean(), distance.std()]
    total = (side - ours[0]) / ours[1] + DISTANCE * (distance - ours[2]) / ours[3]
    return dataclasses.replace(typicality, standards=jnp.asarray([*ours, total.mean(), total.std()], jnp.float32))


_features = jax.jit(features, static_argnames="arch")


def _plane(like: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """Returns the weight of each feature, by regularised least squares with targets -1 for samples and 1 for others.

    Each group of others counts as much as another, however many pictures it has.

    Solved in the space of rows, which are fewer than the features in large discriminators.
    """
    rows = np.concatenate([like, *others])
    scale = like.std(0) + 1e-6
    shares = (0.5, *[0.5 / len(others)] * len(others))
    weight = np.concatenate([np.full(len(some), share / len(some)) for some, share in zip((like, *others), shares)])
    weighted = (rows - weight @ rows) / scale * np.sqrt(weight)[:, None]
    target = np.concatenate([-np.ones(len(like)), np.ones(len(rows) - len(like))]) * np.sqrt(weight)
    products = (weighted @ weighted.T).astype(np.float64)
    solution = np.linalg.solve(products + _RIDGE * np.trace(products) * np.eye(len(rows)), target)
    return np.asarray((weighted.T @ solution) / scale)


def _directions(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns the leading directions (P, K) of centred rows, their standard deviations (K,), and that of the rest."""
    rows = rows.astype(np.float64)
    count = min(_DIRECTIONS, rows.shape[1] - 1, len(rows) - 1)
    _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    variance = values**2 / len(rows)
    # Signs do not matter: only squares are used.
    rest = (variance.sum() - variance[:count].sum()) / (rows.shape[1] - count)
    return vectors[:count].T, np.sqrt(variance[:count]), float(np.sqrt(rest))


def disturbed(rng: np.random.Generator, images: _Images) -> _Images:
    """Returns the images slightly shifted, rotated, scaled, blurred, relit and noisy, as photographs may differ."""
    return np.stack([_disturbed(rng, image) for image in images]).clip(-1, 1).astype(np.float32)


def unlike(rng: np.random.Generator, images: _Images) -> _Images:
    """Returns a picture unlike a GAN's samples for each sample: a third dead leaves, a sixth of each other kind."""
    makers = (_leaves, _leaves, _cutting, _shuffled, _other_phases, _patches)
    made = [makers[k % len(makers)](rng, image) for k, image in enumerate(images)]
    return np.stack(made).clip(-1, 1).astype(np.float32)


def _disturbed(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    side = len(image)
    middle = (side - 1) / 2
    turn = cv2.getRotationMatrix2D((middle, middle), rng.normal(0, 2), np.exp(rng.normal(0, 0.03)))
    turn[:, 2] = turn[:, 2] + rng.normal(0, side / 64, 2)
    made = cv2.warpAffine(image, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    if rng.random() < 0.5:
        made = cv2.GaussianBlur(made, (0, 0), rng.uniform(0.2, 0.8) * side / 64)
    if rng.random() < 0.5:
        made = made + rng.normal(0, rng.uniform(0, 0.05), made.shape)
    return np.asarray((made + rng.normal(0, 0.05)) * np.exp(rng.normal(0, 0.1)))


def _leaves(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Draws overlapping ellipses and boxes, few or many, of similar or varied colours; some blurred, grey or noisy."""
    side = 2 * len(image)
    made = np.full((side, side, 3), rng.uniform(-1, 1, 3), np.float32)
    colour, deviation = rng.uniform(-1, 1, 3), rng.uniform(0.1, 0.8)
    least, count = rng.uniform(0.016, 0.063) * side, int(rng.integers(20, 400))
    for _ in range(count):
        radius = least / np.sqrt(rng.uniform(0.01, 1))  # areas distributed as in photographs
        where, flat, turned = rng.integers(0, side, 2).tolist(), rng.uniform(0.2, 1), rng.uniform(0, 180)
        box = (where, (2 * radius, 2 * radius * flat), turned)
        painted = np.clip(rng.normal(colour, deviation), -1, 1).tolist()
        if rng.random() < 0.5:
            cv2.ellipse(made, box, painted, -1)
        else:
            cv2.fillPoly(made, [cv2.boxPoints(box).astype(np.int32)], painted)
    softness = rng.uniform(0.004, 0.031) * side if rng.random() < 0.5 else 0.0
    soft = cv2.GaussianBlur(made, (0, 0), softness) if softness else made
    small = np.asarray(cv2.resize(soft, (len(image), len(image)), interpolation=cv2.INTER_AREA))
    if rng.random() < 0.3:
        small = np.repeat(small.mean(-1, keepdims=True), 3, -1)
    return small + rng.normal(0, rng.uniform(0.02, 0.3), small.shape) if rng.random() < 0.4 else small


def _cutting(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    side = len(image)
    cut = int(round(rng.uniform(_LEAST_CUT, _GREATEST_CUT) * side))
    x, y = rng.integers(0, side - cut + 1, 2)
    return np.asarray(cv2.resize(image[y : y + cut, x : x + cut], (side, side), interpolation=cv2.INTER_CUBIC))


def _shuffled(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    pieces = int(rng.choice([2, 4]))
    width = len(image) // pieces
    cut = image.reshape(pieces, width, pieces, width, 3).swapaxes(1, 2).reshape(-1, width, width, 3)
    mixed = cut[rng.permutation(pieces * pieces)].reshape(pieces, pieces, width, width, 3)
    return mixed.swapaxes(1, 2).reshape(image.shape)


def _other_phases(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Shifts the phase of every frequency by that of noise, keeping the mean colour: gives a texture."""
    angles = np.angle(np.fft.rfft2(rng.normal(size=image.shape[:2])))
    waves = np.fft.rfft2(image, axes=(0, 1))
    turned = waves * np.exp(1j * angles)[..., None]
    turned[0, 0] = waves[0, 0]
    return np.fft.irfft2(turned, s=image.shape[:2], axes=(0, 1))


def _patches(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Draws noise of any coarseness and strength: single pixels, patches, gradients, or nearly a single colour."""
    side, cells = len(image), 2 ** int(rng.integers(0, np.log2(len(image)) + 1))
    grid = rng.uniform(-1, 1, (cells, cells, 1 if rng.random() < 0.3 else 3)).astype(np.float32)
    grid = np.broadcast_to(grid, (cells, cells, 3)).copy()
    way = cv2.INTER_NEAREST if rng.random() < 0.5 else cv2.INTER_CUBIC
    strength = rng.uniform(0, 1)
    return (1 - strength) * rng.uniform(-1, 1, 3) + strength * cv2.resize(grid, (side, side), interpolation=way)
