"""The parts of toybox-sd, a latent diffusion model of Toybox in the format of Stable Diffusion, and their training."""
