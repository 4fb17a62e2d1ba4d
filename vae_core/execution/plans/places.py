"""Where bands are kept that are read more than once, in the words of plans and of those who ask for one."""

DEVICE, SYSTEM, DISK = KEEP = ("device", "system memory", "disk")
