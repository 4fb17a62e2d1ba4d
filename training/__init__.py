"""Training a small Autoencoder-KL of our own, and tuning others: `python -m exact_vae.training`.

recipe.py     what is trained and how, in numbers
sources.py    the photographs: where they come from, under which licence
pictures.py   photographs to crops; procedural.py draws what photographs lack
losses.py     what is minimised
growing.py    a network that learns small pictures first
trainer.py    the loop, its state, its end: resumable to the bit
results.py    the file, curves, the table and the contact sheet of photographs never seen
"""
