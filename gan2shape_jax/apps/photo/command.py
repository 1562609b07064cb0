"""`gan2shape-jax photo`: from a photo to its shape and a page; crop, mask and latent are found automatically."""

import argparse
import concurrent.futures
import contextlib
import itertools
import os
import pathlib
import sys
from collections.abc import Generator, Sequence

from gan2shape_jax.apps import option_types
from gan2shape_jax.apps.photo import folder, naming
from gan2shape_jax.apps.photo.folder import PhotoFolder, Prepared
from gan2shape_jax.errors import (
    ConfigError,
    FatalRunError,
    UserError,
    exit_code,
    message_line,
    one_line,
    printable,
    require_applications,
)
from gan2shape_jax.geometry.crop_box import CropBox
from gan2shape_jax.io.bundled import DEFAULT
from gan2shape_jax.io.output_folders import RUN, require_output_folder
from gan2shape_jax.photos import judge
from gan2shape_jax.photos.explain import load_kind
from gan2shape_jax.photos.find import NoDetectionError, Request
from gan2shape_jax.photos.frames import is_video
from gan2shape_jax.photos.pipeline import PhotoModel, load_photo_model
from gan2shape_jax.photos.together import Source, gather, sources_of
from gan2shape_jax.results import Row, load_metrics, print_table
from gan2shape_jax.results.result import EYES_LIMITS, EYES_MM
from gan2shape_jax.run import lock
from gan2shape_jax.training.resume import Decision

_OUT = "results/photos"
_OF_ONE = ("box", "which", "mask", "latent")  # options for a single photo
_AT_ONCE = 8  # photos that are searched before the objects in them are reconstructed, and the page written
_TELLING = 20  # photographs of one object after which a line says how many were searched
_FIRST = 2  # those at the start, unless they are refined, so that there is something to see soon; then twice as many
_DESCRIPTION = (
    "Detects the object in photos of any size and shape, crops it, and reconstructs it in 3D with a lifted GAN's "
    "model: meshes, maps, pictures, and a page that says how far to trust the shape."
)
_EPILOG = """\
examples:
  gan2shape-jax photo me.jpg --open
  gan2shape-jax photo holiday/*.jpg --out results/holiday
  gan2shape-jax photo front.jpg left.jpg right.jpg --together --out me    # one person, one shape
  gan2shape-jax photo turn.mp4            # a head that turns: likewise
  gan2shape-jax photo cat.jpg --model my_cats.py --refine
  gan2shape-jax photo group.jpg            # everybody: group-1, group-2, ... from left to right
  gan2shape-jax photo group.jpg --which 2
  gan2shape-jax photo me.jpg --box 812 440 600 --mask me_mask.png
  gan2shape-jax photo s3://bucket/photos --out s3://bucket/results --cluster ray
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status, 1 if a photo failed or none was reconstructed."""
    parser = option_types.parser("photo", _DESCRIPTION, _EPILOG)
    about = "files, folders or patterns such as 'in/*.jpg'; or one video, whose frames are taken --together"
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help=about)
    about = (
        "the photos show one person, or one thing: makes one result of all; best from the front and turned to both "
        "sides, as far as 45 degrees"
    )
    parser.add_argument("--together", action="store_true", help=about)
    about = (
        "what the photos show: people, people:head (whole heads) or cat; another configuration that names a model (by "
        "name or file), such as car (rendered cars, a benchmark) or ictface (rendered faces); or a model.safetensors "
    )
    parser.add_argument("--model", default=DEFAULT, help=f"{about}(default: {DEFAULT})")
    about = f"folder of the results (default: {_OUT}); more photos may be added later, a photo done again is replaced"
    parser.add_argument("--out", type=_place, metavar="FOLDER", help=about)
    about = "fit light and colours, and the shape of some models, to each photo: takes longer, and shows the time left"
    parser.add_argument("--refine", action="store_true", help=about)
    about = "give results the photo's own texture (default: yes)"
    parser.add_argument("--texture", action=argparse.BooleanOptionalAction, default=True, help=about)
    about = "also write depth (16-bit), normals and mask of the whole photo, at its own size, as PNG"
    parser.add_argument("--maps", action="store_true", help=about)
    eyes = option_types.number("--eyes", *EYES_LIMITS, "mm")
    about = f"how far a person's eyes are apart in meshes and prints, in millimetres (default: {EYES_MM:g})"
    parser.add_argument("--eyes", type=eyes, metavar="MM", help=about)
    about = "reconstruct the best candidate even if nothing was found"
    parser.add_argument("--anyway", action="store_true", help=about)
    parser.add_argument("--open", action="store_true", help="open the page in a browser at the end")
    about = (
        "divide the photos among the machines of a Ray cluster, or the cores of this one; photos and results may then "
        "be in object storage, such as s3://bucket/photos"
    )
    parser.add_argument("--cluster", choices=("ray",), help=about)
    single = parser.add_argument_group("for a single photo")
    about = (
        "X Y SIDE [ROLL]: the crop, by its centre and side in pixels of the upright photo, rotated "
        "clockwise by ROLL degrees; used as it is"
    )
    single.add_argument("--box", nargs="+", metavar="N", type=option_types.number("--box", -1e6, 1e6), help=about)
    about = "reconstruct only this object, numbered from left to right (default: all)"
    single.add_argument("--which", type=option_types.whole("--which", 1, 100), metavar="N", help=about)
    about = "picture, white or opaque only on the object, with the photo's proportions, or square and showing the crop"
    option_types.add_path(single, "--mask", "FILE", about)
    option_types.add_path(single, "--latent", "FILE", "latent of the crop (.npy or .pt), for --refine")
    return exit_code(lambda: _run(parser.parse_args(argv)))


def _run(options: argparse.Namespace) -> int:
    require_applications()
    options.out = options.out or pathlib.Path(_OUT)
    if not options.together and (videos := [path for path in options.photos if is_video(path)]):
        if len(options.photos) > 1:
            raise ConfigError(f"{videos[0]} is a video, which shows one person: name it alone, or add --together")
        options.together = True
    if options.together:
        alone = "photos that are reconstructed one by one, not together"
        _refuse(options, ("refine", *_OF_ONE, "anyway", "cluster"), alone)
    if options.cluster:
        _refuse(options, (*_OF_ONE, "open", "maps", "eyes"), "photos without --cluster")
        from gan2shape_jax.apps.cluster.engine import require_ray

        require_ray()
        from gan2shape_jax.apps.cluster.command import run_photos  # which imports what the extra brings

        return run_photos(options, log=_say)
    if remote := [place for place in (*options.photos, os.fspath(options.out)) if "://" in place]:
        raise UserError(f"{remote[0]} is in object storage, which is read and written with --cluster ray")
    paths, box = naming.expand(options.photos, say=_say), options.box
    if box is not None and len(box) not in (3, 4):
        raise ConfigError(f"--box has {len(box)} numbers: it must be X Y SIDE or X Y SIDE ROLL")
    if box is not None and options.which is not None:
        raise ConfigError("--which chooses among detected objects; --box sets the crop itself")
    if len(paths) > 1:
        _refuse(options, _OF_ONE, f"a single photo, not {len(paths)}")
    out = options.out
    require_output_folder(out, RUN)
    kind = load_kind(options.model)
    photo_folder = PhotoFolder(folder.config_of(kind, out, refine=options.refine))
    if options.refine:
        _say(folder.refinement_line(photo_folder.config))
    model = load_photo_model(kind, log=_say, refine=options.refine)
    if options.eyes and model.predictor.plan.landmarks is None:
        raise ConfigError(
            f"--eyes: where the eyes are is not known of {options.model}; a print has --width and --height"
        )
    if options.together:
        code = _reconstruct_together(options, photo_folder, model, paths)
    else:
        with lock.hold(out):
            code = _reconstruct(options, photo_folder, model, paths)
    page = out / "index.html"
    if page.is_file():
        print(one_line(f"page: {page}"))
        if options.open:
            option_types.show(page.resolve().as_uri(), say=_say)
    return code


def _place(text: str) -> pathlib.Path | str:
    """Returns the folder of --out: a path, or a URL as it is."""
    path = option_types.path("--out")(text)
    return text if "://" in text else path


def _refuse(options: argparse.Namespace, names: Sequence[str], what: str) -> None:
    """Raises `ConfigError` if one of these options is set, each of which is for `what`."""
    for name in names:
        if getattr(options, name):
            raise ConfigError(f"--{name} is for {what}")


def _reconstruct_together(
    options: argparse.Namespace, photo_folder: PhotoFolder, model: PhotoModel, paths: Sequence[pathlib.Path]
) -> int:
    """Makes one result of all photos, unless it is there; returns the exit status."""
    out, sources = options.out, sources_of(paths)
    name, place = folder.together_name(options.photos[0], paths[0], out)
    _say(f"{len(sources)} photograph{'s' * (len(sources) > 1)} of one {model.finder.kind}")
    digest = folder.digest_of(sources)
    decision = folder.together_decided(photo_folder, name, digest)
    place_of_result, wanted = out / "results" / name, {"maps": options.maps, "eyes": options.eyes}
    if decision.exists and folder.has(place_of_result, **wanted):
        _say(f"{name}: finished before, {'skipped' if decision is Decision.SKIP else 'drawn anew'}")
        with lock.hold(out):
            if decision is Decision.REDRAW:
                photo_folder.redraw(name)
    else:
        gathered = gather(_counted(sources), model, log=_say)
        with lock.hold(out), photo_folder.work(model, texture=options.texture, **wanted) as work:
            folder.make_together(work, gathered, name, place, digest)
    if sentence := judge.sentence_of(name, load_metrics(out / "results" / name)):
        _say(sentence)
    print_table([judge.row_of(name, out / "results" / name)])
    return 0


def _counted(sources: Sequence[Source]) -> Generator[Source]:
    """Yields photographs, and says now and then how many there were."""
    for number, source in enumerate(sources):
        if number and number % _TELLING == 0:
            _say(f"{number} of {len(sources)} photographs were searched")
        yield source


def _reconstruct(
    options: argparse.Namespace, photo_folder: PhotoFolder, model: PhotoModel, paths: list[pathlib.Path]
) -> int:
    """Searches the photos and reconstructs the objects in them, some at a time; returns the exit status."""
    names = naming.names_for(paths, folder.names_in(options.out))
    wishes = {name: getattr(options, name) for name in ("which", "mask", "latent", "anyway")}
    wishes |= {"box": CropBox(*options.box), "anyway": True} if options.box else {}
    requests = [Request(path, name, **wishes) for path, name in zip(paths, names, strict=True)]
    refused: dict[str, UserError] = {}
    made: list[str] = []
    wanted = {"texture": options.texture, "maps": options.maps, "eyes": options.eyes}
    searches = contextlib.closing(_searched_ahead(requests, photo_folder, model))
    with photo_folder.work(model, **wanted) as work, searches as groups:
        for group in groups:
            prepared, lately = list[Prepared](), dict[str, UserError]()
            for number, search in group:
                count = f"{number + 1} of {len(paths)}: " if len(paths) > 1 else ""
                try:
                    photos = search.result()
                except FatalRunError:
                    raise
                except UserError as error:
                    lately[names[number]] = error
                    _tell_refusal(error, count, options.out, names[number])
                    continue
                if len(photos) > 1:
                    ends = f"{photos[0].name} to {photos[-1].name}"
                    found = f"{len(photos)} {model.finder.kind}s, from left to right {ends}"
                    _say(f"{count}{paths[number].name}: {found}{model.finder.limit_words(len(photos))}")
                for note in itertools.chain.from_iterable(photo.notes for photo in photos):
                    _say(f"{count}{note}")
                prepared += photos
            work.refuse({name: str(error) for name, error in lately.items()})
            undetected = work.make(prepared, _say)
            for name, absent in undetected.items():
                _tell_refusal(absent, "", options.out, name)
            made += [photo.name for photo in prepared if photo.name not in undetected]
            refused |= lately | undetected
    failed = work.items.failures
    rows = [judge.row_of(name, options.out / "results" / name) for name in made if name not in failed]
    rows += [Row(name, f"failed: {why}") for name, why in failed.items()]
    print_table(rows + [Row(name, f"not used: {why}") for name, why in refused.items()])
    unusable = any(not isinstance(error, NoDetectionError) for error in refused.values())
    return int(bool(failed or unusable) or not made)


def _searched_ahead(
    requests: Sequence[Request], photo_folder: PhotoFolder, model: PhotoModel
) -> Generator[list[tuple[int, concurrent.futures.Future[list[Prepared]]]], None, None]:
    """Yields the searches through some photos at a time, with their numbers; another thread does the next ones."""
    searching = concurrent.futures.ThreadPoolExecutor(1, "search")
    try:
        former: list[tuple[int, concurrent.futures.Future[list[Prepared]]]] = []
        numbered, size = enumerate(requests), _AT_ONCE if model.refiner else _FIRST
        while group := list(itertools.islice(numbered, size)):
            following = [
                (k, searching.submit(folder.prepare, request, photo_folder, model.finder)) for k, request in group
            ]
            if former:
                yield former
            former, size = following, min(2 * size, _AT_ONCE)
        yield former
    finally:
        searching.shutdown(cancel_futures=True)


def _tell_refusal(error: UserError, count: str, out: pathlib.Path, name: str) -> None:
    """Says why there is no 3D of a photo."""
    if isinstance(error, NoDetectionError):
        drawing = out / folder.FOLDER / "framing" / f"{name}.jpg"
        nearest = f"{drawing} shows the best candidate, --anyway uses it, --box another square"
        _say(f"{count}{error}; {nearest if error.boxes else '--box names a square of your own'}")
    else:
        print(f"error: {printable(message_line(str(error)))}", file=sys.stderr)


def _say(line: str) -> None:
    print(one_line(line), file=sys.stderr)
