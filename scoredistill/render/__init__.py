"""Rendering as stateless functions: volumes, splats, triangles and their shading."""
