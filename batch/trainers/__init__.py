"""Caches that trainers made: what lies in a folder, and what is wrong with it.

kept.py            a latent as a trainer keeps it
finding.py         the files of a folder, each to the reader that knows its content
sd_scripts.py      .npz; musubi.py: .safetensors; diffusion_pipe.py: shards behind a metadata.db; pickled.py: the .pt of
                   SimpleTuner and OneTrainer
images.py          the images they were made of
judging.py         numbers, shapes, ages: what needs no VAE
recognising.py     with a VAE: whose they are, of which range of pixels, how often they were scaled
checking.py        all of it
"""
