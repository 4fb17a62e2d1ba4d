"""The endings of image files, for lists of files. What a file is, its first bytes say."""

SUFFIXES = (".png", ".apng", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic",
            ".heif", ".jxl", ".jp2", ".j2k", ".ppm", ".pgm", ".pnm", ".tga", ".qoi", ".psd",
            ".exr")  # fmt: skip
