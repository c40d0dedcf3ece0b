"""Parts of `benchmarks.gpu`: what is measured on a GPU, section by section."""
