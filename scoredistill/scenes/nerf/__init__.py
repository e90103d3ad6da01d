"""Neural radiance fields: a hash grid in an occupancy grid, volume-rendered."""

from scoredistill.scenes.nerf.config import EnvironmentConfig, GridConfig, LambertConfig, NerfRegularizers
from scoredistill.scenes.nerf.nerf import NeRF, NerfConfig

__all__ = ["EnvironmentConfig", "GridConfig", "LambertConfig", "NeRF", "NerfConfig", "NerfRegularizers"]
