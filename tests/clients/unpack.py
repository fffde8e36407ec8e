"""Unpacks a delivered file with the libraries that people read such files with, and writes what is inside to
standard output.

  unpack.py none|gzip|zip|snappy|hadoop-snappy|zstd FILE
"""

import gzip
import io
import sys
import zipfile

import snappy
import zstandard


def unpacked(packing, path):
    if packing == "gzip":
        return gzip.open(path).read()
    if packing == "zip":
        with zipfile.ZipFile(path) as archive:
            (name,) = archive.namelist()
            assert archive.testzip() is None
            assert path.endswith(f"/{name}.zip"), name
            return archive.read(name)
    plain = io.BytesIO()
    with open(path, "rb") as packed:
        if packing == "snappy":
            snappy.stream_decompress(packed, plain)
        elif packing == "hadoop-snappy":
            plain.write(snappy.HadoopStreamDecompressor().decompress(packed.read()))
        elif packing == "zstd":
            zstandard.ZstdDecompressor().copy_stream(packed, plain)
        else:
            plain.write(packed.read())
    return plain.getvalue()


sys.stdout.buffer.write(unpacked(sys.argv[1], sys.argv[2]))
