"""Write docs/studies.md, and the verdicts that `scoredistill study` lists; take over the folders of new studies first.

    python -m tools.write_studies_doc runs/study-sdi_scales-0 runs/study-dsd_diversity-0

Numbers go to benchmarks/results/studies, pictures in fewer bytes to docs/images/studies; without folders the page is
written anew from what is there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from scoredistill.evaluate.report import markdown
from scoredistill.studies import SCENE_STUDIES, STUDIES
from scoredistill.studies.conduct import VERDICTS as LISTED
from scoredistill.studies.scene_study import SceneStudy
from scoredistill.studies.study import Study

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "studies"
PICTURES = ROOT / "docs" / "images" / "studies"
PAGE = ROOT / "docs" / "studies.md"
QUALITY = 85  # of a picture: a tenth of the bytes
ALL: dict[str, Study | SceneStudy] = {**STUDIES, **SCENE_STUDIES}
SENTENCES = {True: "**The claim holds.**", False: "**The claim does not hold.**", None: "**Undecided.**"}

INTRODUCTION = """\
# Studies

Written by `python -m tools.write_studies_doc` from [the results](../benchmarks/results/studies); do not edit by hand.

The figures and tables of the SDI and DSD papers as experiments. Each study quotes a claim of the paper, states what was
measured, and concludes whether the claim holds. `scoredistill study NAME --prior PRIOR` runs a study and writes its own
page with all pictures, plots and settings.

How to read the results:

- A claim holds only if all of its parts do. If it does not, read the parts; the pictures often say more.
- In sentences, [a, b] is a 95 % interval (in older studies, ± is one standard error); in tables, ± is one standard
  deviation.
- "A minus B" and "A less B" in a sentence are the difference A − B.
- A study in 3D is a sweep with preset `study`: every arm (a method or a setting) with every caption and seed, each run
  in its own folder. If it is killed, the same command continues it. Arms are compared over pairs with equal caption and
  seed; for an undecided part, the text says how many pairs would decide it.
- In 3D the tables contain, in addition to the judge's metrics, the distance to the true shape (`evaluate/geometry.py`):
  Chamfer distance, normals, overlap and volume against the nearest of sixteen toys that the caption describes. The
  column `front_behind` is the share of views from behind that the judge takes for a front.

Examples:

    scoredistill study sdi_against_sds --dry-run                             # what it would run, hours and gigabytes
    scoredistill study sdi_against_sds --prior toybox-mv --processes 2
    scoredistill study sdi_table_1 --prior toybox-mv --reuse runs/study-sdi_against_sds-0   # its SDS and SDI runs
    scoredistill study sdi_table_1 --prior sd --preset paper --dry-run       # the paper's size: 43 prompts, 50 views

`--reuse` takes folders of other studies: their finished runs with equal settings, and the measurements of these runs,
are copied instead of being computed again. `scoredistill study` lists all studies with the verdicts below.
"""
NOTE = "n is the number of images in 2D, and of runs per arm in 3D. A dash: not run on that prior yet.\n"


def take_over(folder: Path) -> None:
    """Take over the numbers and the pictures of a finished study."""
    result = json.loads((folder / "result.json").read_text())
    RESULTS.mkdir(parents=True, exist_ok=True)
    PICTURES.mkdir(parents=True, exist_ok=True)
    name = file_stem(result)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as picture:
            picture.convert("RGB").save(PICTURES / f"{name}-{path.stem}.webp", quality=QUALITY)


def file_stem(result: dict[str, Any]) -> str:
    """The name of a result's files: that of the study, and of the prior where it is not the first."""
    study, prior = ALL[result["study"]], Path(result["settings"]["prior"]).name
    return study.name if prior == study.prior else f"{study.name}@{prior}"


def document(results: Sequence[dict[str, Any]]) -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, overview(results), NOTE, *map(section, results)])


def overview(results: Sequence[dict[str, Any]]) -> str:
    """The first table: each study with its verdict on every prior."""
    priors = list(dict.fromkeys(Path(result["settings"]["prior"]).name for result in results))
    found = {(result["study"], Path(result["settings"]["prior"]).name): result for result in results}
    rows = []
    for study in ALL.values():
        verdicts = {prior: verdict(found.get((study.name, prior))) for prior in priors}
        where = f"{study.paper.upper()}, {study.figure}"
        rows.append({"study": study.title, "paper": where, "command": f"`study {study.name}`", **verdicts})
    return markdown(rows)


def verdict(result: dict[str, Any] | None) -> str:
    """Whether a claim holds, and over how many images or runs."""
    if result is None:
        return "—"
    word = {True: "holds", False: "does not hold", None: "undecided"}[result["holds"]]
    settings = result["settings"]
    return f"{word} (n = {len(settings['captions']) * settings['seeds']})"


def listed(results: Sequence[dict[str, Any]]) -> str:
    """The verdicts as `scoredistill study` lists them: study -> prior -> verdict, as JSON."""
    table: dict[str, dict[str, str]] = {}
    for result in results:
        table.setdefault(result["study"], {})[Path(result["settings"]["prior"]).name] = verdict(result)
    return json.dumps(table, indent=1) + "\n"


def section(result: dict[str, Any]) -> str:
    """One study on one prior: claim, verdict, table, pictures, command."""
    study, name = ALL[result["study"]], file_stem(result)
    paths = sorted(path for path in PICTURES.glob(f"{name}-*.webp"))
    pictures = [f"![{path.stem}](images/studies/{path.name})\n" for path in paths]
    columns = dict.fromkeys(column for row in result["rows"] for column in row)
    rows = [{column or "what": cell(row.get(column, "")) for column in columns} for row in result["rows"]]
    parts = [
        f"## {study.title}, on {Path(result['settings']['prior']).name}\n",
        f"`{study.name}`: {study.paper.upper()}, {study.figure}.\n",
        f"> {result['claim']}\n",
        f"{SENTENCES[result['holds']]} {result['because']}\n",
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


def taken_over() -> list[dict[str, Any]]:
    """The results that are there, in the order of the studies, and for each that of its files."""
    paths = [path for name in ALL for path in (RESULTS / f"{name}.json", *sorted(RESULTS.glob(f"{name}@*.json")))]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", help="of finished studies")
    for folder in parser.parse_args().folders:
        take_over(folder)
    results = taken_over()
    PAGE.write_text(document(results))
    LISTED.write_text(listed(results))
    print(PAGE, LISTED)


if __name__ == "__main__":
    main()
