"""The ways of running a network: one file each. None of them knows a family by name."""
