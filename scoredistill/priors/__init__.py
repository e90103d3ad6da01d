"""Priors: the diffusion models that are distilled."""
