"""Write docs/studies.md: what every study found, with its pictures; take over the folders of new ones first.

    python -m tools.write_studies_doc runs/study-sdi_scales-0 runs/study-dsd_diversity-0

Numbers go to benchmarks/results/studies, pictures in fewer bytes to docs/images/studies; without folders the page is
written anew from what is there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from scoredistill.evaluate.report import markdown
from scoredistill.studies import STUDIES

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "studies"
PICTURES = ROOT / "docs" / "images" / "studies"
PAGE = ROOT / "docs" / "studies.md"
QUALITY = 85  # of a kept picture: a tenth of the bytes
VERDICTS = {True: "**The claim holds.**", False: "**The claim does not hold.**", None: "**Undecided.**"}

INTRODUCTION = """\
# Studies

Written by `python -m tools.write_studies_doc` from [the results](../benchmarks/results/studies); do not edit by hand.

The figures and tables of the SDI and DSD papers as experiments in 2D on the embedded prior: what the paper claims,
what was measured (± one standard error in sentences, one standard deviation in tables), whether it holds.
`scoredistill study NAME` runs one and writes a page of its own with all pictures, plots and settings. A verdict
asks every part of a claim to hold, so where one does not, read the parts: the pictures often say more.
"""


def take_over(folder: Path) -> None:
    """Keep the numbers and the pictures of a finished study."""
    result = json.loads((folder / "result.json").read_text())
    RESULTS.mkdir(parents=True, exist_ok=True)
    PICTURES.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{result['study']}.json").write_text(json.dumps(result, indent=1) + "\n")
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as picture:
            picture.convert("RGB").save(PICTURES / f"{result['study']}-{path.stem}.webp", quality=QUALITY)


def document(results: Iterable[dict[str, Any]]) -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *map(section, results)])


def section(result: dict[str, Any]) -> str:
    """One study: claim, verdict, table, pictures, command."""
    study = STUDIES[result["study"]]
    paths = sorted(PICTURES.glob(f"{study.name}-*.webp"))
    pictures = [f"![{path.stem}](images/studies/{path.name})\n" for path in paths]
    columns = dict.fromkeys(name for row in result["rows"] for name in row)
    rows = [{name or "what": cell(row.get(name, "")) for name in columns} for row in result["rows"]]
    parts = [
        f"## {study.title}\n",
        f"`{study.name}`: {study.paper.upper()}, {study.figure}.\n",
        f"> {result['claim']}\n",
        f"{VERDICTS[result['holds']]} {result['because']}\n",
        f"{result['remarks']}\n" if result["remarks"] else "",
        *pictures,
        markdown(rows) if rows else "",
        f"    {result['command']}\n",
    ]
    return "\n".join(filter(None, parts))


def cell(value: Any) -> Any:
    """A cell of a table: an estimate as mean and standard deviation."""
    if isinstance(value, dict):
        spread = "" if value["sd"] is None else f" ± {value['sd']:.2g}"
        return "—" if value["mean"] is None else f"{value['mean']:.3g}{spread}"
    return value


def kept() -> list[dict[str, Any]]:
    """The results that are there, in the order of the papers."""
    paths = [RESULTS / f"{name}.json" for name in STUDIES]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", help="of finished studies")
    for folder in parser.parse_args().folders:
        take_over(folder)
    PAGE.write_text(document(kept()))
    print(PAGE)


if __name__ == "__main__":
    main()
