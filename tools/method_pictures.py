"""Cut docs/images/methods/NAME.webp out of the picture of the study of all methods: two captions, beside DDIM.

python -m tools.method_pictures
"""

from __future__ import annotations

from PIL import Image

from scoredistill.methods.catalogue import METHODS
from tools.write_methods_doc import COMPARED, DOCS, compared

CAPTIONS = ("a purple snowman", "an orange hamburger")
GAP = 4  # pixels between two images, in both pictures
QUALITY = 90


def cut() -> None:
    """One picture for each method: of each caption DDIM's image and the method's."""
    found = compared()
    columns = [row[""] for row in found["rows"]][1:]  # all but the true renders, which are not in the picture
    (source,) = (DOCS / "images" / "studies").glob(f"{COMPARED}-*.webp")
    folder = DOCS / "images" / "methods"
    folder.mkdir(exist_ok=True)
    with Image.open(source) as sheet:
        captions = found["settings"]["captions"]
        side = (sheet.width + GAP) // len(columns) - GAP
        for name in METHODS.keys() & set(columns):
            places = [(columns.index(each), captions.index(text)) for text in CAPTIONS for each in ("DDIM", name)]
            strip = Image.new("RGB", (len(places) * (side + GAP) - GAP, side), "white")
            for place, (column, row) in enumerate(places):
                left, top = column * (side + GAP), row * (side + GAP)
                strip.paste(sheet.crop((left, top, left + side, top + side)), (place * (side + GAP), 0))
            strip.save(folder / f"{name}.webp", quality=QUALITY)


if __name__ == "__main__":
    cut()
