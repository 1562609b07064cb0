"""Makes what an index shows of a tree lead to its repository: links of the README, and the metadata's addresses.

    python .ci/absolute_links.py TREE URL TAG

TREE is changed in place: a copy, not a checkout. URL is the address of the repository's page, TAG what is released.
"""

import pathlib
import re
import sys

_IMAGE = re.compile(r"(!\[[^\]]*\])\((?!https?://)([^)#\s]+)\)")
_LINK = re.compile(r"(?<!!)(\[[^\]]*\])\((?!https?://|mailto:|#)([^)\s]+)\)")


def absolute(text: str, url: str, tag: str) -> str:
    """Returns Markdown with relative links to files as links to the repository's files at `tag`."""
    text = _IMAGE.sub(rf"\1({url}/raw/{tag}/\2)", text)
    return _LINK.sub(rf"\1({url}/blob/{tag}/\2)", text)


def main(tree: str, url: str, tag: str) -> None:
    """Rewrites README.md and setup.cfg of a tree."""
    url = url.rstrip("/")
    readme, setup = pathlib.Path(tree, "README.md"), pathlib.Path(tree, "setup.cfg")
    readme.write_text(absolute(readme.read_text(encoding="utf-8"), url, tag), encoding="utf-8")
    addresses = f"project_urls =\n    Repository = {url}\n    Changelog = {url}/blob/{tag}/CHANGELOG.md\n"
    setup.write_text(setup.read_text(encoding="utf-8").replace("project_urls =\n", addresses, 1), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
