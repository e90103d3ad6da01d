"""VSD and ESD with an exact score of the renders in place of a learner: identity I-14 of METHODS."""

from __future__ import annotations

import pytest
import torch
from conftest import randn, times
from method_inputs import LEVELS, MANY, NULL, SHAPE, Renders, check_mean_and_deviation, distill, images
from test_schedule import close

from scoredistill.methods.esd import ESD
from scoredistill.methods.sds import SDS
from scoredistill.methods.vsd import VSD
from scoredistill.priors.analytic import AnalyticPrior, gaussian


def test_I14_vsd_with_a_score_of_each_render_is_sds() -> None:
    found = distill(VSD().build(Renders(images()[0])), images())
    assert close(found.grad, distill(SDS(scale=7.5, t_max=0.5), images()).grad)


def test_I14_esd_is_affine_in_lam_and_vsd_where_lam_is_zero() -> None:
    def grad(lam: float, cameras: list[bool]) -> torch.Tensor:
        renders = Renders(images()[0])
        answer = distill(ESD(lam=lam).build(renders), images())
        assert renders.cameras == cameras, "a branch of no weight is not computed"
        return answer.grad

    vsd_grad, marginal_grad = grad(0.0, [True]), grad(1.0, [False])
    assert torch.equal(vsd_grad, distill(VSD().build(Renders(images()[0])), images()).grad)
    assert not close(vsd_grad, marginal_grad, 0.1)
    assert close(grad(0.3, [False, True]), 0.7 * vsd_grad + 0.3 * marginal_grad)


def test_the_built_method_carries_its_learner() -> None:
    renders = Renders(images()[0])
    assert VSD().build(renders).learner is renders
    assert ESD().build(renders).learner is renders


@pytest.mark.parametrize("own", [0.3, 0.6])
def test_expected_gradient_and_variance_of_a_learned_score_on_gaussians(own: float) -> None:
    """E = w sbar [(x - mu) / (s^2 + sbar^2) - (x - m) / (q^2 + sbar^2)]: no variance where both are as wide, q = s."""
    mean, renders, std, t = randn(*SHAPE), randn(*SHAPE, seed=2), 0.6, 0.4
    prior = AnalyticPrior(gaussian(mean, std), NULL, LEVELS)
    x = images(1).expand(MANY, -1, -1, -1)
    method = ESD(lam=1.0, scale=1.0, t_min=t, t_max_late=t, weight="sbar").build(Renders(renders, own))
    found = MANY * distill(method, x, prior).grad
    sbar = float(LEVELS.sbar(times(t, 1), x))
    mine, theirs = 1 / (std**2 + sbar**2), 1 / (own**2 + sbar**2)
    expected = sbar**2 * ((x[0] - mean) * mine - (x[0] - renders) * theirs)
    check_mean_and_deviation(found, expected, sbar**3 * abs(mine - theirs))


@pytest.mark.parametrize("config", [VSD(), ESD()])
def test_a_learned_method_without_a_learner_is_refused(config: VSD | ESD) -> None:
    with pytest.raises(ValueError, match="needs a learner"):
        config.build()
