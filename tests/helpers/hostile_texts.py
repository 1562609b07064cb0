"""Settings in YAML and configurations in JSON that somebody made to do harm, and honest ones that went wrong."""

import json
import random
from collections.abc import Iterator

__all__ = ["json_files", "yaml_files"]

_SETTINGS = """\
model_name: car
category: car
num_stage: 2
flip1_cfg: [false, true]
flip3_cfg: [true, true]
stage_len_dict: {step1: 700, step2: 700, step3: 600}
stage_len_dict2: {step1: 200, step2: 500, step3: 400}
image_size: 128
img_list_path: data/car/list.txt
img_root: data/car
latent_root: data/car/latents
gan_ckpt: checkpoints/car.pt
crop: 384
lam_perc: 0.5
view_mvn_path: checkpoints/view_light/view_mvn.pth
rand_light: [-1, 1, -0.2, 0.8, -0.1, 0.6, -0.6]
"""


def _laughs(levels: int, form: str) -> str:
    lines = ["a0: &a0 " + form.format("x, x, x, x, x, x, x, x, x")]
    lines += [f"a{i}: &a{i} " + form.format(", ".join([f"*a{i - 1}"] * 9)) for i in range(1, levels)]
    return "\n".join(lines)


def _long() -> Iterator[tuple[str, str]]:
    """Text that takes long to understand, below and above a megabyte."""
    patterns = {
        "list": ("a: [", "x,", "]"),
        "aliases": ("b: &b x\na: [", "*b,", "]"),
        "merges": ("b: &b {x: 1}\na:\n", " <<: *b\n", ""),
        "options": ("", "a{}: 1\n", ""),
        "nested lists": ("a: ", "[", ""),
        "nested options": ("a: ", "{a: ", ""),
        "nested dashes": ("a:\n ", "- ", ""),
        "questions": ("", "? ", ""),
        "colons": ("a:\n", ": ", ""),
        "tags": ("a: [", "!!int 1,", "]"),
        "pairs": ("a: {", "a{}: b,", "}"),
        "notes": ("", "#\n", "a: 1"),
        "lines": ("", "\n", "a: 1"),
        "documents": ("", "---\n", ""),
        "spaces": ("a:", " ", "1"),
        "a folded text": ("a: >\n", " x\n", ""),
        "a quoted text": ('a: "', "\\x41", '"'),
        "an unended text": ("a: '", "x", ""),
        "a number of minutes": ("num_stage: 1", ":1", ""),
        "a number of digits": ("num_stage: 1", "0", ""),
        "a number of letters": ("num_stage: 0x", "f", ""),
        "a number of bits": ("num_stage: 0b", "1", ""),
        "a number of lines": ("num_stage: 1", "_", "0"),
        "a long name": ("", "n", ": 1"),
        "directives": ("", "%A b\n", "---\na: 1"),
        "anchors": ("a: [", "&b{} x,", "]"),
    }
    for name, (start, piece, end) in patterns.items():
        for size in (30_000, 2**20 - 100, 3 * 2**20):
            text = "".join(piece.replace("{}", str(i)) for i in range(size // len(piece)))
            yield f"{name} {size}", start + text + end


def yaml_files() -> dict[str, bytes]:
    """Returns settings files by a description."""
    files = dict(_long())
    for name, form in (("lists", "[{}]"), ("sets", "!!set {{{}}}"), ("text", "'{}'")):
        files[f"laughs of {name}"] = _laughs(300, form)
    for index, tag in enumerate(
        ("!!python/object/apply:os.system [x]", "!!python/name:os.system", "!!python/object:os.x {}")
    ):
        files[f"tag {index}"] = _SETTINGS.replace("128", tag)
        files[f"tag before all {index}"] = f"{tag.split()[0]}\n{_SETTINGS}"
    for index, value in enumerate(
        ("1000000000", "-1", "0", "99999999999999999999", "1e9", ".inf", ".nan", "true", "[1]", "{}", "")
    ):
        for option in ("num_stage: 2", "image_size: 128", "crop: 384", "lam_perc: 0.5", "step1: 700"):
            files[f"{option} is {index}"] = _SETTINGS.replace(option, f"{option.split(':')[0]}: {value}")
    files["a thousand million stages"] = "\n".join(
        line.replace("2", "1000000000") if line.startswith("num_stage") else line
        for line in _SETTINGS.splitlines()
        if not line.startswith("flip")
    )
    files["twice"] = _SETTINGS * 2
    files["a name of 300"] = _SETTINGS.replace("data/car/list.txt", "x" * 300)
    files["a name with a zero"] = _SETTINGS.replace("data/car/list.txt", '"a\\0b"')
    files["a name of a half"] = _SETTINGS.replace("data/car/list.txt", '"a\\ud800b"')
    files["many unknown options"] = _SETTINGS + "".join(f"lam_{i:04}: 1\n" for i in range(2400))
    files["a list of lists"] = _SETTINGS.replace("[false, true]", "[[false], true]")
    files["points at itself"] = "a: &a [*a]\n"
    files["is its own option"] = "&a a: *a\n"
    content = {name: text.encode("utf-8", "surrogatepass") for name, text in files.items()}
    content |= {"UTF-16": _SETTINGS.encode("utf-16"), "bytes": bytes(range(256)), "nothing": b"", "zeros": bytes(9999)}
    draw = random.Random(0)
    for index in range(40):
        raw = bytearray(_SETTINGS.encode())
        for _ in range(draw.choice((1, 2, 8))):
            raw[draw.randrange(len(raw))] = draw.choice(b"{}[]:,&*!|>'\"%@`#-?\t\n 0a\xff")
        content[f"mutated {index}"] = bytes(raw)
    return content


def json_files(honest: str) -> dict[str, bytes]:
    """Returns what may stand in the place of a run's `config.json`, by a description.

    Args:
        honest: such a file, with groups `data`, `schedule` and `camera`.
    """
    tree = json.loads(honest)
    values = [
        None,
        True,
        -1,
        0,
        10**18,
        1e300,
        "",
        "text",
        "a\0b",
        "x" * 300,
        [],
        [1],
        [[]],
        [["a"]],
        {},
        {"a": 1},
        {"crop": {}},
    ]
    files = {}
    for path in (
        "data",
        "data.crop",
        "data.image_root",
        "schedule",
        "schedule.stages",
        "camera.fov_deg",
        "image_size",
        "mode",
    ):
        for index, value in enumerate(values):
            changed = json.loads(honest)
            owner = changed
            for name in path.split(".")[:-1]:
                owner = owner[name]
            owner[path.split(".")[-1]] = value
            files[f"{path} is {index}"] = json.dumps(changed)
    files |= {
        "deep lists": "[" * 200_000,
        "deep objects": '{"a":' * 50_000,
        "deep, ended": '{"a":' * 20_000 + "1" + "}" * 20_000,
        "deep inside": json.dumps(tree | {"more": json.loads("[" * 500 + "]" * 500)}),
        "many lists": "[" + "[]," * 1_300_000 + "[]]",
        "many objects": "[" + '{"":0},' * 550_000 + "0]",
        "many names": "{" + ",".join(f'"{i}":0' for i in range(350_000)) + "}",
        "one name": '{"a":0,' * 2 + '"a":0,' * 600_000 + '"b":0}}}',
        "a long number": "9" * 4_000_000,
        "a long fraction": "0." + "9" * 4_000_000,
        "a long exponent": "1e" + "9" * 4_000_000,
        "a long text": '"' + "\\u1234" * 600_000 + '"',
        "a text of halves": json.dumps(tree | {"workdir": "\ud800"}),
        "large": "[" + "1," * 3_000_000 + "1]",
        "NaN": honest.replace("10.0", "NaN"),
        "Infinity": honest.replace("10.0", "Infinity"),
        "-Infinity": honest.replace("10.0", "-Infinity"),
        "twice": honest.replace('"image_size"', '"seed": 1, "image_size"'),
        "a list": "[]",
        "text": '"text"',
        "null": "null",
        "nothing": "",
        "no JSON": "{'a': 1}",
        "two": honest + honest,
        "a note": "// note\n" + honest,
        "a comma": honest.rstrip().rstrip("}") + ",}",
        "other fields": '{"data": {"more": 1}, "more": []}',
    }
    content = {name: text.encode("utf-8", "surrogatepass") for name, text in files.items()}
    content |= {
        "UTF-16": honest.encode("utf-16"),
        "a mark": b"\xef\xbb\xbf" + honest.encode(),
        "bytes": bytes(range(256)),
    }
    draw = random.Random(0)
    for index in range(30):
        raw = bytearray(honest.encode())
        for _ in range(draw.choice((1, 2, 8))):
            raw[draw.randrange(len(raw))] = draw.choice(b'{}[]:,"\\0129.eE-+ntf \xff')
        content[f"mutated {index}"] = bytes(raw)
    return content
