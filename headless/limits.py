"""What a workflow may ask for. It is a stranger's file: small ones can be written that would never end.

The largest workflows that people share have some thousand nodes and three levels of subgraphs. The size of the file
is bounded by `vae_core.files.LARGEST_JSON`.
"""

MOST_NODES = 20_000  # when all subgraphs have been put in, notes and reroutes too
DEEPEST = 100  # subgraphs within one another; the editor stops at 1,000
MOST_SOCKETS = 2_000  # inputs or outputs of one node
LONGEST_ADDRESS = 1_000  # letters before the = of NODE.INPUT=VALUE
MOST_STEPS = 1_000_000  # from output nodes to nodes that fail; of outputs after that only their own problems are listed
MOST_CIRCLES = 20  # circles of nodes that are written out
LARGEST_DEFINITIONS = 64 * 2**20  # bytes: core's are 4 MiB, with a hundred packs and all their files some 30
LONGEST_EXPRESSION = 10_000  # letters of a text that is computed; those of the official templates have 60
DEEPEST_EXPRESSION = 100  # operations within one another in it
MOST_BITS = 100_000  # of a whole number in it: powers and shifts may ask for any
MOST_REPEATED = 10_000  # letters or values that a product in it may repeat a text or the list of values to
MOST_EXPANDED = 1_000_000  # nodes of a run, with those that nodes expand into: a loop may go around very often
