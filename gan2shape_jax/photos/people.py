"""Who of the people in several photographs is in all of them.

No network here knows faces. People are compared by the albedo that the model sees on them, in the canonical frame and
without the exposure and tint of their photograph; the one in all photographs is the choice of one in each that are most
like each other and least like all the others. Of 12 rendered heads, which nothing was fitted to, in 2, 3 and 6
photographs with other lights, views and expressions, each time beside somebody else, 83%, 85% and 88% of the choices
are right (half by chance): 90%, 92% and 96% of those that are sure, which are three in four. Of two who are in all
photographs, the choices are of one in 96%. In pairs that the detector found side by side: 81%, and 94% of those that
are sure.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from gan2shape_jax.results import Reconstruction

_DARKEST = 0.03  # albedo: darker is noise
_AROUND = 1 / 20  # sides of the picture around the object's mask that count too: hair
_SURE = 0.15  # correlation by which a choice must be better than any other
_TURNS = 10  # after which a choice no longer changes


def same_person(photos: Sequence[Sequence[Reconstruction]], sides: Sequence[Sequence[float]]) -> tuple[list[int], bool]:
    """Returns of each photograph's objects, one at least, the number of the one who is in all, and whether it is sure.

    `photos` are what the model makes of each object in each photograph, `sides` their crops' in pixels. Where it is not
    sure, it is the largest of those that it may be.
    """
    if not photos:
        return [], True
    owner = np.repeat(np.arange(len(photos)), [len(each) for each in photos])
    alike = likeness([result for each in photos for result in each])
    choices = dict(_choice(alike, owner, seed) for seed in range(len(owner)))
    largest = np.array([side / max(each) for each in sides for side in each])
    likely = [choice for choice, score in choices.items() if score > max(choices.values()) - _SURE]
    taken = max(likely, key=lambda choice: float(np.log(largest[list(choice)]).sum()))
    return (taken - np.searchsorted(owner, np.arange(len(photos)))).tolist(), len(likely) == 1


def likeness(results: Sequence[Reconstruction]) -> Float[np.ndarray, "n n"]:
    """Returns the correlations of albedos, whose colours are relative to their means."""
    inside = np.mean([result.mask for result in results], axis=0) >= 0.5
    inside = ndimage.binary_dilation(inside, iterations=max(1, round(_AROUND * len(inside))))
    colours = np.log(np.clip([result.albedo[inside] for result in results], _DARKEST, 1))  # (n, pixels, 3)
    colours = (colours - colours.mean(1, keepdims=True)).reshape(len(results), -1)
    colours /= np.maximum(np.linalg.norm(colours, axis=1, keepdims=True), 1e-9)
    return colours @ colours.T


def _choice(alike: Float[np.ndarray, "n n"], owner: Int[np.ndarray, " n"], seed: int) -> tuple[tuple[int, ...], float]:
    """Returns the choice of an object of each photograph that begins with one of them, and how good it is.

    `owner` are the objects' photographs. What counts is how much more an object is like the chosen ones of other
    photographs than like the others there.
    """
    apart = owner[:, None] != owner[None]
    better = alike[seed] + (np.arange(len(owner)) == seed)
    choice: tuple[int, ...] = ()
    for _ in range(_TURNS):
        best = tuple(int(max(np.nonzero(owner == k)[0], key=better.__getitem__)) for k in np.unique(owner))
        if best == choice:
            break
        choice, chosen = best, np.isin(np.arange(len(owner)), best)
        means = [(alike * (apart & some)).sum(1) / np.maximum((apart & some).sum(1), 1) for some in (chosen, ~chosen)]
        better = means[0] - means[1] + 1e-6 * alike[seed]  # of a single photograph, there is no more to say
    return choice, float(better[list(choice)].mean())
