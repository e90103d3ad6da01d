"""A published scheduler_config.json: the noise schedule and what the network predicts."""

from __future__ import annotations

import inspect
from typing import Any

from scoredistill import schedule
from scoredistill.priors.diffusers.checkpoint import Checkpoint
from scoredistill.priors.diffusers.libraries import one_line
from scoredistill.priors.diffusers.pipeline import PipelineCheckpoint
from scoredistill.priors.parametrization import Prediction
from scoredistill.schedule import NoiseSchedule

PREDICTIONS: dict[str, Prediction] = {
    "epsilon": "eps",
    "v_prediction": "v",
    "sample": "x0",
    "flow_prediction": "flow",
}
MOST_STEPS = 100_000
LEAST_ABAR = 2.0**-24  # replaces zero in schedules that end in pure noise, where sigma / alpha is infinite


def schedule_of(checkpoint: Checkpoint | PipelineCheckpoint) -> tuple[NoiseSchedule, Prediction]:
    """The noise schedule and parametrization of a published model; ValueError in one line that names the file."""
    name = "scheduler_config.json"
    try:
        return read_schedule(checkpoint.settings("scheduler", name))
    except (TypeError, ArithmeticError, RuntimeError, NotImplementedError, ValueError) as error:
        place = "" if name in str(error) else f"{checkpoint}: scheduler/{name}: "
        raise ValueError(f"{place}{one_line(error)}") from None


def read_schedule(config: dict[str, Any]) -> tuple[NoiseSchedule, Prediction]:
    """The noise schedule and parametrization in the settings of any sampler.

    Flow matching: alpha = 1 - sigma, sigma = s u / (1 + (s - 1) u), s the shift in the settings, u = t (Esser et al.
    2024, eq. 23). Others: variance preserving with the betas of the settings. ValueError for schedules of another kind.
    """
    steps = config.get("num_train_timesteps", 1000)
    if not isinstance(steps, int) or not 2 <= steps <= MOST_STEPS:
        raise ValueError(f"num_train_timesteps is {steps!r}, expected a whole number from 2 to {MOST_STEPS}")
    if "FlowMatch" in config["_class_name"] or config.get("use_flow_sigmas"):
        if config.get("use_dynamic_shifting"):
            raise ValueError("flows whose shift depends on the size of the image are not supported")
        shift = config.get("flow_shift") if config.get("use_flow_sigmas") else config.get("shift")
        return schedule.rectified_flow(steps, float(shift or 1.0)), "flow"
    if "EDM" in config["_class_name"]:
        raise ValueError(f"{config['_class_name']} is not supported: its network takes rescaled inputs")
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    prediction = config.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise ValueError(f"prediction_type is {prediction!r}, known are: {', '.join(PREDICTIONS)}")
    known = inspect.signature(DDPMScheduler).parameters
    abar = (
        DDPMScheduler(**{name: value for name, value in config.items() if name in known})
        .alphas_cumprod.double()
        .clamp(min=LEAST_ABAR)
    )
    return schedule.from_abar(abar), PREDICTIONS[prediction]
