"""The figures and tables of the papers as experiments: each states a claim, measures it, and says if it holds.

A `Study` is in 2D, a short file with its measurement; a `SceneStudy` is in 3D, a few lines that name what is compared.
"""

from scoredistill.studies import dsd_scenes, latent_scenes, savings, sdi_scenes
from scoredistill.studies.dsd_diversity import DIVERSITY, SOURCES
from scoredistill.studies.dsd_seeds import SEEDS
from scoredistill.studies.inverted_noises import INVERTED
from scoredistill.studies.scene_study import SceneStudy
from scoredistill.studies.sdi_failures import FAILURE_CASES
from scoredistill.studies.sdi_figure_1 import FIGURE_1
from scoredistill.studies.sdi_figure_4 import FIGURE_4
from scoredistill.studies.sdi_figure_6 import FIGURE_6
from scoredistill.studies.sdi_inversion_scales import FIGURE_10
from scoredistill.studies.sdi_inversion_steps import FIGURE_11
from scoredistill.studies.sdi_noise_patterns import FIGURE_17
from scoredistill.studies.sdi_residuals import FIGURE_9
from scoredistill.studies.sdi_round_trip import FIGURE_18
from scoredistill.studies.sdi_scales import FIGURE_3
from scoredistill.studies.sdi_traces import TRACES
from scoredistill.studies.study import Study

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        *(FIGURE_1, FIGURE_3, FIGURE_4, FIGURE_6, FIGURE_9, FIGURE_10, FIGURE_11, FIGURE_17, FIGURE_18),
        *(SEEDS, DIVERSITY, SOURCES, INVERTED),
    )
}

SCENE_STUDIES: dict[str, SceneStudy] = {
    study.name: study
    for study in (*sdi_scenes.ALL, TRACES, FAILURE_CASES, *dsd_scenes.ALL, *latent_scenes.ALL, savings.SAVINGS)
}
