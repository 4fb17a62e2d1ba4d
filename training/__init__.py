"""Training a small Autoencoder-KL of our own, and tuning others: `python -m exact_vae.training`.

recipe.py     what is trained and how, in numbers
sources.py    the photographs: where they come from, under which licence
images.py   photographs to crops; procedural.py draws what photographs lack
losses.py     what is minimised
growing.py    a network that learns small images first
trainer.py    the loop, its state: resumable to the bit
processes.py  several processes that train one network
results.py    the file, the table and the contact sheet of photographs never seen; curves.py draws how it went

Fine-tuning, which `exact-vae train` is the command of:

tuning.py     any Autoencoder-KL: what it starts from, what is trained, the file it leaves
folder.py     a person's images: what can be used, what is held out, crops
comparison.py before and after
pixel_art.py  images of one style, to measure it with
"""
