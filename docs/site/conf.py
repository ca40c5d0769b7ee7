"""The pages as a site, by Sphinx with MyST: `make docs`. Nothing is fetched while it is built or read.

The source folder is the checkout itself, so that a link means the same here and in a repository's browser. What leads
where is said once, in docs/index.md: its headings and links are the menu, and a page that it lacks fails the build.
"""

import re
import sys
from pathlib import Path
from typing import Any, Union

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from sphinx.ext.autodoc.mock import _MockObject  # noqa: E402

from schemas.version import VERSION  # noqa: E402

# A stand-in of `torch.Tensor` has to bear `Tensor | None` in an annotation.
_MockObject.__or__ = lambda one, other: Union[one, other]  # noqa: UP007
_MockObject.__ror__ = lambda one, other: Union[other, one]  # noqa: UP007

project = "OpenMuLan"
author = "The OpenMuLan authors"
version = release = VERSION
extensions = ["myst_parser", "sphinx.ext.autodoc"]

root_doc = "docs/index"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**.md"]
# Folders that are not to be walked through.
exclude_patterns = [".*", "**/node_modules", "build", "tests", "benchmarks", "runs", "mulan-demo"]
source_suffix = {".md": "markdown"}
nitpicky = False

myst_heading_anchors = 4
myst_links_external_new_tab = False
# Highlighting of a fence is not worth a failed build: console output is no language.
suppress_warnings = ["misc.highlighting_failure"]

# The library's own packages are read, those of others stand in: the pages need no torch.
autodoc_mock_imports = ["torch", "transformers", "safetensors", "tokenizers", "soundfile", "av", "scipy", "usearch"]
autodoc_mock_imports += ["huggingface_hub"]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
default_role = "code"
add_module_names = False
python_use_unqualified_type_names = True

html_theme = "furo"
html_favicon = "../../schemas/serving/static/icon.svg"
html_title = f"OpenMuLan {VERSION}"
html_static_path: list[str] = []
html_copy_source = False
html_show_sphinx = html_show_copyright = False
smartquotes = False  # two hyphens begin an option
templates_path: list[str] = []

_LINK = re.compile(r"\]\(([^)#\s]+\.md)(?:#[^)]*)?\)")


def _menu(index: str) -> str:
    """Each heading of the index with the pages that are linked under it, as toctrees that are not shown in the text."""
    folder, seen, trees = Path("docs"), set[str](), []
    for part in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        pages = []
        for link in _LINK.findall(part):
            # Of the checkout's folder, as README is.
            page = link.removeprefix("../") if link.startswith("../") else f"{folder}/{link}"
            if page not in seen:
                seen.add(page)
                pages.append("/" + page.removesuffix(".md"))
        caption = part.partition("\n")[0]
        trees.append("\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```"]))
    return "\n\n".join(trees)


def _source_read(app: Any, docname: str, source: list[str]) -> None:
    if docname == root_doc:
        source[0] += "\n" + _menu(source[0])


def _docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with code in backticks and lists; reStructuredText would read more into them."""
    parts = "\n".join(lines).split("`")
    text = "``".join(part if i % 2 else re.sub(r"[*_|]", r"\\\g<0>", part) for i, part in enumerate(parts))
    lines[:] = re.sub(r"(?<=\n)(?<!\n\n)(?<!\n- )(?=- )", "\n", text).split("\n")


def _build_finished(app: Any, error: Exception | None) -> None:
    if error is None:
        page = '<!doctype html><meta charset="utf-8"><title>OpenMuLan</title>'
        page += '<meta http-equiv="refresh" content="0; url=docs/index.html"><a href="docs/index.html">OpenMuLan</a>\n'
        (Path(app.outdir) / "index.html").write_text(page, encoding="utf-8")


def setup(app: Any) -> None:
    app.connect("source-read", _source_read)
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("build-finished", _build_finished)
