"""Training a small Autoencoder-KL of our own, and tuning others: `python -m exact_vae.training`.

recipe.py     all numbers of a training run
sources/      the photographs: where they come from, under which licence; not in the registry's archive
images.py     photographs to crops; procedural.py draws images of kinds that photographs lack
losses.py     the loss
growing.py    a network that learns small images first
trainer.py    the training loop and its state, resumable to the bit
processes.py  several processes that train one network together
results.py    writes the VAE file, and the table and contact sheet of held-out photographs; curves.py draws the run

Fine-tuning, for `exact-vae train`:

tuning.py     any Autoencoder-KL: opens it, prepares the run, writes the result
folder.py     the user's images: which are usable, which are held out, crops of them
comparison.py measures and reports before and after
pixel_art.py  draws images of one style, to measure fine-tuning with
"""
