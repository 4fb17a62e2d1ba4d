"""The parts of gpu_facts.py: what is measured, how, and how it is kept."""
