"""What files may ask of whoever reads or writes them. Names in files and graphs are not trusted, nor are sizes."""

LARGEST_JSON = 16 * 2**20  # bytes of a header, a table beside weights or a workflow; as Python objects twenty times so
LARGEST_SETTINGS = 64 * 2**20  # bytes of a config.json, whose long arrays of numbers are left out: RAE's have 44 MiB
DEEPEST_JSON = 200  # lists and objects within one another; Python follows some hundred when it writes or shows them
MOST_TENSORS = 100_000  # in a file of weights; the largest models of diffusion have some thousands
LONGEST_PREFIX = 1000  # letters of `filename_prefix`; a path of the system has 4096 bytes at most, most have fewer
DEEPEST_PREFIX = 32  # subfolders in it; they are made one within another
STRANGER = 86_400  # seconds after which a part file of another machine, whose locks are not seen here, is left over
