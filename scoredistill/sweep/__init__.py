"""Many runs: which ones, where each of them stands, and the engines that run them."""
